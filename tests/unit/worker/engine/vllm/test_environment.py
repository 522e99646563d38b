import pytest

from services.worker.engine.vllm.environment import prepare


def test_torch_compiles_only_where_the_pool_says_so() -> None:
    environ = {"TORCHDYNAMO_DISABLE": "0"}
    prepare(compiles=False, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "1"
    prepare(compiles=True, environ=environ)
    assert environ["TORCHDYNAMO_DISABLE"] == "0"


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
