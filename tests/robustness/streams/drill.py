"""One run: streams all the while, workers struck at random moments, then a look at what is left."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle, islice
from math import inf
from random import Random

from tests.robustness.arena import Arena
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question
from tests.robustness.streams.faults import WorkerFault
from tests.robustness.traffic import Traffic
from tests.robustness.verdict import Run, Struck
from tests.support.wait import wait_until

OPTIONS = ("--routers", "2")
SIMULATED = """
pools:
  - {name: tide, model: simulated, workers: 4, engine: {kind: simulated, max_running: 32, step_ms: 30}}
"""
VLLM = """
pools:
  - name: tide
    model: one-layer
    workers: 2
    # Places for twelve streams of two choices each: what goes on elsewhere must not wait for one.
    engine: {kind: vllm, max_running: 24, dtype: float32, context_tokens: 1024, kv_memory_gib: 0.1}
"""
SPARE = 2
"""Workers that must be ready beside the one that is struck; one, where there are but two."""
READY_S = 400.0
ASK_EVERY_S = 0.2
"""More often, and asking would take the workers the cores that they start on."""
RESUMED = "tidegate_gateway_resume_gap_seconds_count"


class Strikes:
    """Takes one ready worker after another; several may be down at once, as long as enough are left."""

    def __init__(self, arena: Arena, traffic: Traffic, random: Random, every_s: float) -> None:
        self._view, self._traffic, self._random, self._every_s = arena.view, traffic, random, every_s
        self._workers = arena.view.named("worker")
        self._down: dict[str, asyncio.Task[None]] = {}
        self.struck: list[Struck] = []
        self.waiting = asyncio.Event()
        """Set while too few workers are ready to strike one."""

    async def run(self, faults: Sequence[WorkerFault], strikes: int, until: float) -> None:
        """Returns when every worker is ready again."""
        for fault in islice(cycle(faults), strikes):
            ready = await self._enough_ready()
            if time.monotonic() > until:
                break
            await asyncio.sleep(self._random.expovariate(1 / self._every_s))
            worker = self._random.choice(ready)
            self.struck.append(Struck(fault.name, worker, self._traffic.now_s(), fault.gap_s))
            self._down[worker] = asyncio.create_task(asyncio.to_thread(fault.strike, worker))
        self.waiting.set()
        await asyncio.gather(*self._down.values())
        await wait_until(self._all_ready, description="every worker is ready again", timeout=READY_S, every=ASK_EVERY_S)

    async def _enough_ready(self) -> list[str]:
        ready: list[str] = []

        async def enough() -> bool:
            ready[:] = await self._ready()
            return len(ready) > min(SPARE, len(self._workers) - 1)

        self.waiting.set()
        await wait_until(enough, description="enough workers are ready", timeout=READY_S, every=ASK_EVERY_S)
        self.waiting.clear()
        return sorted(ready)

    async def _all_ready(self) -> bool:
        return len(await self._ready()) == len(self._workers)

    async def _ready(self) -> list[str]:
        return await self._view.ready(
            [worker for worker in self._workers if worker not in self._down or self._down[worker].done()]
        )


async def drill(
    arena: Arena,
    faults: Sequence[WorkerFault],
    questions: list[Question],
    *,
    streams: int,
    strikes: int,
    every_s: float,
    seed: int,
    rests: bool = False,
    until: float = inf,
) -> Run:
    """Strikes with one fault after another, `every_s` apart on average, while so many streams are open.

    until: in monotonic time; after it none is struck any more, and the run is judged by what there was.
    rests: none are begun while workers start; on few cores they would take real engines all the time they need for it.
    """
    random = Random(seed)
    traffic = Traffic(arena.view.target, random)
    right = await traffic.learn(questions)
    before = await arena.view.metric("gateway", RESUMED)
    strikes_of = Strikes(arena, traffic, random, every_s)
    striking = asyncio.create_task(strikes_of.run(faults, strikes, until))
    try:
        resting = strikes_of.waiting if rests else None
        await traffic.always_open(lambda: random.choice(questions), streams, striking, resting)
    finally:
        traffic.close()
    await striking
    resumed = await arena.view.metric("gateway", RESUMED) - before
    return Run(traffic.sent, right, strikes_of.struck, resumed, await leftovers(arena.view))
