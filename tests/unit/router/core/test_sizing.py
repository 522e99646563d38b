"""How many workers a pool should have."""

import pytest

from services.router.core.sizing import Sizing
from services.shared.classes import ServiceClass
from services.shared.config import Adapters, Pool
from services.shared.engine_settings import SimulatedEngine

POOL = Pool(name="tide", model="m", engine=SimulatedEngine(kind="simulated", max_running=10))
FROM_ZERO = Sizing.of_pool(POOL.model_copy(update={"scales_from_zero": True}))

Queued = dict[ServiceClass, int]


@pytest.mark.parametrize(
    ("slots", "granted", "queued", "desired"),
    [
        ([], 0, {}, 0),
        ([], 0, {ServiceClass.DEFAULT: 1}, 1),
        ([], 0, {ServiceClass.PRIORITY: 8, ServiceClass.FLEX: 9}, 3),
        ([], 0, {ServiceClass.BATCH: 1000}, 1),
        ([10], 1, {}, 1),
        ([10], 8, {}, 1),
        ([10], 9, {}, 2),
        ([10, 30], 17, {}, 2),
        ([10], 0, {}, 0),
    ],
)
def test_a_pool_that_scales_from_zero_counts_its_queue(
    slots: list[int], granted: int, queued: Queued, desired: int
) -> None:
    assert FROM_ZERO.desired(slots, granted, queued) == desired


def test_any_other_pool_keeps_one_worker() -> None:
    assert Sizing.of_pool(POOL).desired([10], 0, {}) == 1
    assert Sizing.of_pool(POOL).desired([], 0, {ServiceClass.DEFAULT: 20}) == 3


def test_adapters_are_known_where_they_are_named() -> None:
    pool = POOL.model_copy(update={"adapters": Adapters(names=("b@stable", "support-*", "a"))})
    assert Sizing.of_pool(pool).adapters == ("a", "b")
