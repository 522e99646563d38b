"""Short drills of departures and floods. `python -m tests.robustness.clients` runs long ones, and stalls."""

from collections.abc import Iterator

import pytest

from tests.robustness.clients.configs import FEW_SLOTS, PER_SECOND
from tests.robustness.clients.departures import departures
from tests.robustness.clients.flood import flood
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SEED = 20261121


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_under_test(tmp_path_factory.mktemp("clients"), FEW_SLOTS) as cluster:
        yield cluster


async def test_clients_that_leave_leave_no_request_behind(cluster: ClusterUnderTest) -> None:
    report = await departures(cluster, clients=60, seed=SEED)
    assert report.begun > 0
    assert not report.wrong, f"seed {SEED}: {report}"


async def test_a_flood_gets_clean_refusals(cluster: ClusterUnderTest) -> None:
    report = await flood(cluster, per_second=5 * PER_SECOND, lasts_s=3, seed=SEED)
    assert report.refused.all_s
    assert not report.wrong, f"seed {SEED}: {report}"
