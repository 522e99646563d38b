"""Short drills of departures and floods. `python -m tests.robustness.clients` runs long ones, and stalls."""

import pytest

from tests.robustness.clients.configs import PER_SECOND
from tests.robustness.clients.departures import departures
from tests.robustness.clients.flood import flood
from tests.robustness.cluster_under_test import ClusterUnderTest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SEED = 20261121


async def test_clients_that_leave_leave_no_request_behind(bounded_cluster: ClusterUnderTest) -> None:
    report = await departures(bounded_cluster, clients=60, seed=SEED)
    assert report.begun > 0
    assert not report.wrong, f"seed {SEED}: {report}"


async def test_a_flood_gets_clean_refusals(bounded_cluster: ClusterUnderTest) -> None:
    report = await flood(bounded_cluster, per_second=5 * PER_SECOND, lasts_s=3, seed=SEED)
    assert report.refused.all_s
    assert not report.wrong, f"seed {SEED}: {report}"
