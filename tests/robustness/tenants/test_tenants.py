"""A short drill of two tenants. `python -m tests.robustness.tenants` runs long ones."""

import pytest

from tests.robustness.cluster_with_database import ClusterWithDatabase
from tests.robustness.tenants.canaries import Canaries
from tests.robustness.tenants.drill import drill

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(180)
async def test_two_tenants_at_once_learn_nothing_about_each_other(cluster_with_database: ClusterWithDatabase) -> None:
    run = await drill(cluster_with_database, requests=200, seed=SEED)
    assert run.requests >= 200
    assert not run.violations, f"seed {SEED}: {run}"


def test_a_leaked_secret_is_found() -> None:
    planted = Canaries({"key": "tg-1", "password": "word"})
    assert list(planted.leaks({"a log": "the pass" + "word is tg-2", "a metric": "none"})) == ["a log has the password"]
