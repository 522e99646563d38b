"""What all tests share. Hypothesis prints how to replay a failure, and is never failed for being slow."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings

from services.local.ports import Ports
from tests.support.ahead import Ahead
from tests.support.cluster import REPOSITORY, RunningCluster, running_cluster
from tests.support.postgres import Postgres, running_postgres
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

AHEAD = pytest.StashKey[Ahead]()
# Sets of scripts/tools.sh, and the fixtures that bring them.
TOOLS = {"prometheus": "tools", "containers": "container_tools"}

SIMULATED = """
pools:
  - {name: tide, model: simulated, workers: 3, engine: {kind: simulated, max_running: 4, step_ms: 5}}
"""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins to fetch what the chosen tests will want."""
    session.stash[AHEAD] = ahead = Ahead()
    session.config.add_cleanup(ahead.close)
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    if sets := [name for name, fixture in TOOLS.items() if fixture in wanted]:
        ahead.begin("scripts/tools.sh", *sets)
    if "clients" in wanted:
        ahead.begin("scripts/clients.sh")


@pytest.fixture(scope="session")
def ahead(request: pytest.FixtureRequest) -> Ahead:
    return request.session.stash[AHEAD]


@pytest.fixture
def ports() -> Iterator[Ports]:
    """Free ones, held for the test."""
    with Ports(Random()) as free:
        yield free


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests that want one; each makes a database of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Three simulated workers behind two routers."""
    with running_cluster(tmp_path_factory.mktemp("simulated"), SIMULATED, "--routers", "2") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """What `make up` starts: vLLM with SmolLM2."""
    config = (REPOSITORY / "tidegate.yaml").read_text()
    with running_cluster(tmp_path_factory.mktemp("real"), config) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as safetensors, with tokenizer and chat template."""
    return PackagedSmolLM2().prepare(tmp_path_factory.mktemp("smollm2"))
