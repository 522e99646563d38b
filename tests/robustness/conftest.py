"""Clusters that the short drills share."""

from collections.abc import Iterator

import pytest
import yaml

from tests.robustness import cluster_with_database as with_database
from tests.robustness.clients.configs import FEW_SLOTS
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.robustness.cluster_with_database import ClusterWithDatabase
from tests.robustness.inputs import drill as inputs
from tests.robustness.router.drill import CONFIG, OPTIONS


@pytest.fixture(scope="session")
def cluster_with_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWithDatabase]:
    with with_database.cluster_with_database(tmp_path_factory.mktemp("with-database")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def replicated_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    """A cluster with several routers."""
    with cluster_under_test(tmp_path_factory.mktemp("replicated"), CONFIG, *OPTIONS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def bounded_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    """A pool with few slots and short queues, and a pool with a small context for generated requests."""
    few, small = yaml.safe_load(FEW_SLOTS), yaml.safe_load(inputs.CONFIG)
    config = yaml.safe_dump({**few, "pools": few["pools"] + small["pools"]})
    with cluster_under_test(tmp_path_factory.mktemp("bounded"), config) as cluster:
        yield cluster
