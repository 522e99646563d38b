"""One run: traffic all the while, a fault every so often, then a look at what is left."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

import redis

from loadtests.target import Target
from services.cli.local.folder import DataFolder
from services.cli.local.redis import url
from services.cli.local.secrets import Secrets
from tests.robustness.router.crew import Crew, crew
from tests.robustness.router.faults import Fault
from tests.robustness.router.traffic import Question, Sent, Traffic
from tests.support import census
from tests.support.cluster import RunningCluster, running_cluster
from tests.support.wait import wait_until

ROUTERS = 4
CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 48, step_ms: 8}}
"""
CALM_S = 2.0


@dataclass(frozen=True, slots=True)
class Struck:
    """When a fault was there, in seconds of the drill."""

    name: str
    from_s: float
    until_s: float
    hides_redis: bool


@dataclass(frozen=True, slots=True)
class Run:
    sent: list[Sent]
    right: dict[Question, str]
    struck: list[Struck]
    left: set[str]
    """Keys that should not be there when all requests have ended."""


@dataclass(frozen=True, slots=True)
class Arena:
    cluster: RunningCluster
    crew: Crew

    @property
    def target(self) -> Target:
        return Target.of(self.cluster.rest, self.cluster.key)

    @property
    def redis_url(self) -> str:
        kept = Secrets.model_validate_json(DataFolder(self.cluster.folder / ".tidegate").secrets.read_bytes())
        port = self.cluster.status()["addresses"]["redis"].split(":")[1]
        return url(int(port), kept.redis_password)


@contextmanager
def arena(folder: Path) -> Iterator[Arena]:
    with running_cluster(folder, CONFIG, "--routers", str(ROUTERS)) as cluster, crew(cluster) as mine:
        yield Arena(cluster, mine)


async def drill(
    arena: Arena, faults: Sequence[Fault], *, strikes: int, every_s: float, per_second: float, seed: int
) -> Run:
    """Strikes with one fault after another, `every_s` apart, while requests come; the last fault gets time to heal."""
    traffic = Traffic(arena.target, Random(seed))
    try:
        right = await traffic.learn()
        striking = asyncio.create_task(_strike(traffic, faults, strikes, every_s))
        await traffic.run(striking, per_second)
    finally:
        traffic.close()
    return Run(traffic.sent, right, striking.result(), await _left(arena.redis_url))


async def _strike(traffic: Traffic, faults: Sequence[Fault], strikes: int, every_s: float) -> list[Struck]:
    await asyncio.sleep(CALM_S)
    return [await _strike_once(traffic, fault, every_s) for fault in islice(cycle(faults), strikes)]


async def _strike_once(traffic: Traffic, fault: Fault, every_s: float) -> Struck:
    began = traffic.now_s()
    await asyncio.to_thread(fault.strike)
    await asyncio.sleep(fault.lasts_s)
    await asyncio.to_thread(fault.lift)
    struck = Struck(fault.name, began, traffic.now_s(), fault.hides_redis)
    await asyncio.sleep(every_s)
    return struck


async def _left(redis_url: str) -> set[str]:
    """Nothing of any request, once what ended last has been told."""
    client = redis.Redis.from_url(redis_url)
    try:
        await wait_until(
            lambda: not census.of_requests(client), description="Redis has nothing of any request", timeout=15
        )
    except AssertionError:
        return census.of_requests(client)
    else:
        return census.unexpected(client)
    finally:
        client.close()
