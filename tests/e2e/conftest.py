from collections.abc import Iterator

import pytest

from tests.support.cluster import REPOSITORY, RunningCluster, running_cluster

SIMULATED = """
pools:
  - {name: tide, model: simulated, workers: 3, engine: {kind: simulated, max_running: 4, step_ms: 5}}
"""


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
