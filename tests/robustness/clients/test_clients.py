"""Short drills. `python -m tests.robustness.clients` runs the long ones, stalled readers among them."""

from collections.abc import Iterator

import pytest

from tests.robustness.arena import Arena, arena
from tests.robustness.clients.cluster import FEW_SLOTS, PER_SECOND
from tests.robustness.clients.departures import departures
from tests.robustness.clients.flood import flood

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

SEED = 20261121


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena(tmp_path_factory.mktemp("arena"), FEW_SLOTS) as built:
        yield built


async def test_clients_that_leave_leave_nothing_behind(cluster: Arena) -> None:
    verdict = await departures(cluster, clients=100, seed=SEED)
    assert verdict.begun > 0
    assert not verdict.left, f"seed {SEED}: {verdict}"


async def test_a_flood_is_refused_as_it_should_be(cluster: Arena) -> None:
    verdict = await flood(cluster, per_second=5 * PER_SECOND, lasts_s=5, seed=SEED)
    assert verdict.refused.all_s
    assert not verdict.wrong, f"seed {SEED}: {verdict}"
