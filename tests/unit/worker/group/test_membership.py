from dataclasses import replace
from typing import Any

import pytest

from services.shared.config import Pool
from services.shared.engine_settings import SimulatedEngine
from services.worker.group.membership import Membership

POOL = Pool(name="tide", model="m", engine=SimulatedEngine(nodes=3))
LEADER = Membership.of(POOL, 0)


@pytest.mark.parametrize("rank", [1, 2])
def test_followers_of_the_same_pool_fit(rank: int) -> None:
    assert LEADER.misfit(Membership.of(POOL, rank), 3) is None


def test_the_number_of_workers_is_free() -> None:
    assert LEADER.misfit(Membership.of(POOL.model_copy(update={"workers": 9}), 1), 3) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pool": "ebb"}, "TIDEGATE_POOL = 'ebb': this worker is of the pool 'tide'"),
        ({"node_rank": 0}, "TIDEGATE_NODE_RANK = 0: the followers of 3 nodes are 1 to 2"),
        ({"node_rank": 3}, "TIDEGATE_NODE_RANK = 3"),
        ({"settings_sha256": "0"}, "TIDEGATE_CONFIG: the pool 'tide' has other settings there"),
        ({"engine": "vLLM 0.1"}, "the follower runs vLLM 0.1, and rank 0 the simulated engine"),
    ],
)
def test_a_misfit_is_told_by_key_and_value(changed: dict[str, Any], said: str) -> None:
    reason = LEADER.misfit(replace(Membership.of(POOL, 1), **changed), 3)
    assert reason is not None
    assert reason.startswith(said)


def test_other_settings_of_the_engine_do_not_fit() -> None:
    other = POOL.model_copy(update={"engine": SimulatedEngine(nodes=3, context_tokens=64)})
    assert "other settings" in str(LEADER.misfit(Membership.of(other, 1), 3))
