"""A short drill. `python -m tests.robustness.tenants` runs the long one."""

import pytest

from tests.robustness.accounted import Accounted
from tests.robustness.tenants.drill import drill
from tests.robustness.tenants.planted import Planted

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(180)
async def test_two_tenants_at_once_learn_nothing_of_each_other(with_database: Accounted) -> None:
    run = await drill(with_database, requests=200, seed=SEED)
    assert run.requests >= 200
    assert not run.complaints, f"seed {SEED}: {run}"


def test_a_secret_that_is_told_is_found() -> None:
    planted = Planted({"key": "tg-1", "password": "word"})
    assert list(planted.told({"a log": "the pass" + "word is tg-2", "a metric": "none"})) == [
        "a log tells the password"
    ]
