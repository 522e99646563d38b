"""Short drills. `python -m tests.robustness.router` runs the long ones."""

from random import Random

import pytest

from tests.robustness.arena import Arena
from tests.robustness.router.drill import ROUTERS, drill
from tests.robustness.router.faults import Fault, Flushed, OutOfMemory, Paused, ReadOnly, RedisKilled, RouterKilled
from tests.robustness.router.verdict import judge

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

# Few enough for a machine that does much else at the same time.
PER_SECOND = 20.0
SEED = 20261121


async def check(replicated: Arena, faults: list[Fault], strikes: int, every_s: float) -> None:
    run = await drill(replicated, faults, strikes=strikes, every_s=every_s, per_second=PER_SECOND, seed=SEED)
    verdict = judge(run)
    assert verdict.answered > 0
    assert not verdict.complaints, f"seed {SEED}: {verdict}"


async def test_router_replicas_may_be_killed_every_second(replicated: Arena) -> None:
    await check(replicated, [RouterKilled(replicated.crew, Random(SEED), up=ROUTERS)], strikes=6, every_s=1)


async def test_redis_may_be_killed_and_emptied(replicated: Arena) -> None:
    await check(replicated, [RedisKilled(replicated.crew), Flushed(replicated.view.redis_url)], strikes=2, every_s=3)


async def test_redis_may_stand_still_refuse_writes_and_fill_up(replicated: Arena) -> None:
    url = replicated.view.redis_url
    await check(replicated, [Paused(url), ReadOnly(url), OutOfMemory(url)], strikes=3, every_s=3)
