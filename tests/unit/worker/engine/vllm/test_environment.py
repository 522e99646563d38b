import pytest

from services.worker.engine.node import interface_of
from services.worker.engine.vllm.environment import name_node, prepare
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


def test_a_node_is_named_by_its_address_and_interface() -> None:
    environ: dict[str, str] = {}
    name_node("127.0.0.1", environ)
    assert environ["VLLM_HOST_IP"] == "127.0.0.1"
    assert environ["GLOO_SOCKET_IFNAME"] == environ["NCCL_SOCKET_IFNAME"] == interface_of("127.0.0.1")


def test_whoever_names_a_node_has_it_named() -> None:
    environ = {"VLLM_HOST_IP": "10.0.0.7", "GLOO_SOCKET_IFNAME": "ib0"}
    name_node("127.0.0.1", environ)
    assert (environ["VLLM_HOST_IP"], environ["GLOO_SOCKET_IFNAME"]) == ("10.0.0.7", "ib0")


def test_an_address_without_an_interface_names_none() -> None:
    environ: dict[str, str] = {}
    name_node("192.0.2.1", environ)
    assert environ == {"VLLM_HOST_IP": "192.0.2.1"}
