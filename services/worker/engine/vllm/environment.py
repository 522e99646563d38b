"""Environment variables that vLLM reads; they must be set before vLLM is imported."""

import os
from collections.abc import MutableMapping

from services.worker.engine.node import interface_of
from services.worker.engine.vllm.executor import PINNED_THREADS

_FIXED = {
    # Models come verified from the registry. vLLM downloads nothing and reports nothing.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # Standard output belongs to the program that started this process.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    # A forked child would inherit our event loop, sockets and threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare(*, compiles: bool, cpu_processes: int = 0, environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets the variables.

    Args:
        compiles: whether torch may compile anything. If it may, vLLM compiles the code for log probabilities at the
            first request that wants them, and every other request waits: 5.7 s on a CPU.
        cpu_processes: how many processes run the model, where that is on a CPU. vLLM would bind the threads of several
            to cores, those of every worker to the same ones.
        environ: the variables to change.
    """
    environ.update(_FIXED, TORCHDYNAMO_DISABLE="0" if compiles else "1")
    if cpu_processes > 1:
        environ.setdefault(PINNED_THREADS, "nobind")
    # numba, which looks up n-grams, would set the threads of the whole process to the number of cores. Threads that are
    # more than the free cores wait for one another by spinning.
    threads = environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if threads.isdecimal():
        environ.setdefault("NUMBA_NUM_THREADS", threads)


def name_node(address: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Says at which address the processes of the other nodes reach those of this one. An operator's own choice stays.

    Without it vLLM, gloo and NCCL guess: by the route to the internet, or by the host's name.

    Args:
        address: IP address of this machine.
        environ: the variables to change.
    """
    environ.setdefault("VLLM_HOST_IP", address)
    if interface := interface_of(address):
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            environ.setdefault(name, interface)
