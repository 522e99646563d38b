"""Fixtures and settings of all tests.

Hypothesis prints how to replay a failure, and a slow example is no failure.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from services.local.ports import Ports
from tests.support import schedule
from tests.support.cluster import REPOSITORY, RunningCluster, running_cluster
from tests.support.postgres import Postgres, running_postgres
from tests.support.prefetch import Prefetch
from trainer.sources.packaged import PackagedSmolLM2

settings.register_profile("tidegate", print_blob=True, deadline=None)
# State machines on real servers: thousands of steps instead of hundreds.
settings.register_profile(
    "deep",
    settings.get_profile("tidegate"),
    max_examples=2000,
    stateful_step_count=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tidegate")

PREFETCH = pytest.StashKey[Prefetch]()
TOOL_SETS = {"prometheus": "tools", "containers": "container_tools"}
"""Sets of programs that scripts/tools.sh knows, and the fixture that needs each of them."""

SIMULATED = """
pools:
  - {name: tide, model: simulated, workers: 3, engine: {kind: simulated, max_running: 4, step_ms: 5}}
prices: {models: {tide: {prompt: 0.5, cached: 0.05, completion: 1.5}}}
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Checks the groups; in a process of pytest-xdist sorts the tests, after pytest-randomly has shuffled them."""
    schedule.check(items)
    if hasattr(config, "workerinput"):
        schedule.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return schedule.scheduler(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts the downloads that the chosen tests need."""
    session.stash[PREFETCH] = prefetch = Prefetch()
    session.config.add_cleanup(prefetch.close)
    if session.config.option.collectonly:
        return
    fixtures = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    if sets := [name for name, fixture in TOOL_SETS.items() if fixture in fixtures]:
        prefetch.start("scripts/tools.sh", *sets)
    if "clients" in fixtures:
        prefetch.start("scripts/clients.sh")


@pytest.fixture(scope="session")
def prefetch(request: pytest.FixtureRequest) -> Prefetch:
    return request.session.stash[PREFETCH]


@pytest.fixture
def ports() -> Iterator[Ports]:
    """Free ports, reserved until the test ends."""
    with Ports(Random()) as free:
        yield free


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests; each test makes its own database."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Three simulated workers behind two routers."""
    with running_cluster(tmp_path_factory.mktemp("simulated"), SIMULATED, "--routers", "2") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The cluster that `make up` starts: vLLM with SmolLM2."""
    config = (REPOSITORY / "tidegate.yaml").read_text()
    with running_cluster(tmp_path_factory.mktemp("real"), config) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as safetensors, with tokenizer and chat template."""
    return PackagedSmolLM2().prepare(tmp_path_factory.mktemp("smollm2"))
