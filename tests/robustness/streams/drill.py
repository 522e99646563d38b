"""One run: streams all the while, workers struck at random moments, then a look at what is left."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

import httpx
import redis

from tests.robustness.router.crew import crew
from tests.robustness.router.drill import Arena
from tests.robustness.streams.faults import WorkerFault
from tests.robustness.streams.questions import Question
from tests.robustness.streams.traffic import Read, Sent, Traffic
from tests.support import census
from tests.support.cluster import running_cluster
from tests.support.wait import wait_until

MODEL = "tide"
SIMULATED = """
pools:
  - {name: tide, model: simulated, workers: 4, engine: {kind: simulated, max_running: 32, step_ms: 30}}
"""
VLLM = """
pools:
  - name: tide
    model: smollm2-135m-instruct
    workers: 2
    engine: {kind: vllm, max_running: 16, dtype: float32, context_tokens: 1024, kv_memory_gib: 0.5}
"""
SPARE = 2
"""Workers that must be ready beside the one that is struck; one, where there are but two."""
READY_S = 240.0


@dataclass(frozen=True, slots=True)
class Struck:
    """at_s: seconds of the drill."""

    fault: str
    worker: str
    at_s: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class Run:
    sent: list[Sent]
    right: dict[Question, Read]
    struck: list[Struck]
    resumed: float
    """Streams that the gateway says went on elsewhere."""
    left: set[str]
    """Keys and slots that should not be there when all streams have ended."""


@contextmanager
def arena(folder: Path, config: str) -> Iterator[Arena]:
    with running_cluster(folder, config, "--routers", "2") as cluster, crew(cluster) as mine:
        yield Arena(cluster, mine)


class Strikes:
    """Takes one ready worker after another; several may be down at once, as long as enough are left."""

    def __init__(self, arena: Arena, traffic: Traffic, random: Random, every_s: float) -> None:
        self._traffic, self._random, self._every_s = traffic, random, every_s
        self._addresses = addresses(arena)
        self._workers = arena.crew.named("worker")
        self._down: dict[str, asyncio.Task[None]] = {}
        self.struck: list[Struck] = []

    async def run(self, faults: Sequence[WorkerFault], strikes: int) -> None:
        """Returns when every worker is ready again."""
        for fault in islice(cycle(faults), strikes):
            await asyncio.sleep(self._random.expovariate(1 / self._every_s))
            worker = await self._victim()
            self.struck.append(Struck(fault.name, worker, self._traffic.now_s(), fault.gap_s))
            self._down[worker] = asyncio.create_task(asyncio.to_thread(fault.strike, worker))
        await asyncio.gather(*self._down.values())
        await wait_until(self._all_ready, description="every worker is ready again", timeout=READY_S)

    async def _victim(self) -> str:
        ready: list[str] = []

        async def enough() -> bool:
            ready[:] = await self._ready()
            return len(ready) > min(SPARE, len(self._workers) - 1)

        await wait_until(enough, description="enough workers are ready", timeout=READY_S)
        return self._random.choice(sorted(ready))

    async def _all_ready(self) -> bool:
        return len(await self._ready()) == len(self._workers)

    async def _ready(self) -> list[str]:
        idle = [worker for worker in self._workers if worker not in self._down or self._down[worker].done()]
        async with httpx.AsyncClient(timeout=1.0) as http:
            asked = await asyncio.gather(*(_is_ready(http, self._addresses[worker]) for worker in idle))
        return [worker for worker, ready in zip(idle, asked, strict=True) if ready]


async def _is_ready(http: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await http.get(f"http://{address}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


def addresses(arena: Arena) -> dict[str, str]:
    """Where each process answers HTTP."""
    return {process["name"]: process["http_address"] for process in arena.cluster.status()["processes"]}


async def drill(
    arena: Arena,
    faults: Sequence[WorkerFault],
    questions: list[Question],
    *,
    streams: int,
    strikes: int,
    every_s: float,
    seed: int,
    calm_s: float = 0.0,
) -> Run:
    """Strikes with one fault after another, `every_s` apart on average, while so many streams are open; `calm_s`
    later than they."""
    random = Random(seed)
    traffic = Traffic(arena.target, questions, random)
    right = await traffic.learn()
    before = await _resumed(arena)
    striking = Strikes(arena, traffic, random, every_s)
    running = asyncio.create_task(traffic.run(streams))
    try:
        await asyncio.sleep(calm_s)
        await striking.run(faults, strikes)
    finally:
        traffic.finish()
        await running
    return Run(traffic.sent, right, striking.struck, await _resumed(arena) - before, await _left(arena))


async def _resumed(arena: Arena) -> float:
    return await _metric(addresses(arena)["gateway"], "tidegate_gateway_resume_gap_seconds_count")


async def _metric(address: str, name: str) -> float:
    async with httpx.AsyncClient() as http:
        lines = (await http.get(f"http://{address}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))


async def _left(arena: Arena) -> set[str]:
    """What requests have left behind, in Redis and in the workers' engines."""
    client = redis.Redis.from_url(arena.redis_url)
    left: set[str] = set()

    async def nothing() -> bool:
        left.clear()
        left.update(census.of_requests(client))
        for worker in arena.crew.named("worker"):
            if await _metric(at[worker], "tidegate_worker_running") or await _metric(
                at[worker], "tidegate_worker_waiting"
            ):
                left.add(f"sequences of {worker}")
        return not left

    at = addresses(arena)
    try:
        await wait_until(nothing, description="nothing is left of any request", timeout=15)
    except AssertionError:
        return left
    finally:
        client.close()
    return set()
