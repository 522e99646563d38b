"""Short drills of routers and Redis. `python -m tests.robustness.router` runs long ones."""

from random import Random

import pytest

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.router.drill import ROUTERS, drill
from tests.robustness.router.faults import Fault, Flushed, OutOfMemory, Paused, ReadOnly, RedisKilled, RouterKilled
from tests.robustness.router.invariant_checker import check

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

PER_SECOND = 20.0
"""Few requests, because the machine runs other tests at the same time."""
SEED = 20261121


async def run_and_check(
    replicated_cluster: ClusterUnderTest, faults: list[Fault], injections: int, every_s: float
) -> None:
    run = await drill(
        replicated_cluster, faults, injections=injections, every_s=every_s, per_second=PER_SECOND, seed=SEED
    )
    report = check(run)
    assert report.answered > 0
    assert not report.violations, f"seed {SEED}: {report}"


async def test_no_request_fails_when_a_router_is_killed_every_second(replicated_cluster: ClusterUnderTest) -> None:
    await run_and_check(
        replicated_cluster,
        [RouterKilled(replicated_cluster.injector, Random(SEED), up=ROUTERS)],
        injections=4,
        every_s=1,
    )


async def test_requests_are_answered_or_cleanly_refused_when_redis_is_killed_or_emptied(
    replicated_cluster: ClusterUnderTest,
) -> None:
    await run_and_check(
        replicated_cluster,
        [RedisKilled(replicated_cluster.injector), Flushed(replicated_cluster.view.redis_url)],
        injections=2,
        every_s=3,
    )


async def test_requests_are_answered_or_cleanly_refused_when_redis_stands_still_refuses_writes_or_is_full(
    replicated_cluster: ClusterUnderTest,
) -> None:
    url = replicated_cluster.view.redis_url
    await run_and_check(replicated_cluster, [Paused(url), ReadOnly(url), OutOfMemory(url)], injections=3, every_s=3)
