import pytest

from services.worker.engine.vllm.environment import prepare
from services.worker.engine.vllm.executor import PINNED_THREADS


def test_torch_compiles_only_where_the_pool_says_so() -> None:
    environ = {"TORCHDYNAMO_DISABLE": "0"}
    prepare(compiles=False, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "1"
    prepare(compiles=True, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "0"


@pytest.mark.parametrize(("processes", "bound"), [(0, None), (1, None), (2, "nobind")])
def test_threads_of_several_processes_on_a_cpu_are_bound_to_no_core(processes: int, bound: str | None) -> None:
    environ: dict[str, str] = {}
    prepare(compiles=False, cpu_processes=processes, environ=environ)
    assert environ.get(PINNED_THREADS) == bound


def test_whoever_binds_threads_has_them_bound() -> None:
    environ = {PINNED_THREADS: "0|1"}
    prepare(compiles=False, cpu_processes=2, environ=environ)
    assert environ[PINNED_THREADS] == "0|1"


def test_nothing_is_fetched_and_nothing_reported() -> None:
    environ: dict[str, str] = {}
    prepare(compiles=True, environ=environ)
    assert {environ[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS")} == {"1"}


@pytest.mark.parametrize(("openmp", "numba"), [("1", "1"), ("4,2", "4"), ("many", None), (None, None)])
def test_numba_has_no_more_threads_than_openmp(openmp: str | None, numba: str | None) -> None:
    environ = {} if openmp is None else {"OMP_NUM_THREADS": openmp}
    prepare(compiles=False, environ=environ)
    assert environ.get("NUMBA_NUM_THREADS") == numba


def test_whoever_sets_the_threads_of_numba_has_them() -> None:
    environ = {"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "2"}
    prepare(compiles=False, environ=environ)
    assert environ["NUMBA_NUM_THREADS"] == "2"
