"""Which process runs the model on a CPU."""

from services.worker.engine.vllm.executor import IN_ENGINE_PROCESS, PINNED_THREADS, cpu_executor


def test_a_whole_model_runs_in_the_engine_process() -> None:
    assert cpu_executor(1, {}) == IN_ENGINE_PROCESS


def test_a_model_in_several_parts_and_an_operator_who_pins_threads_get_what_vllm_chooses() -> None:
    assert cpu_executor(2, {}) is None
    assert cpu_executor(1, {PINNED_THREADS: "auto"}) is None
