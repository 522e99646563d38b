"""One drill: streams are always open, faults hit random workers at random moments, and then a search for leaks."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle, islice
from math import inf
from random import Random

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.invariant_checker import InjectedFault, Run
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request
from tests.robustness.streams.faults import WorkerFault
from tests.robustness.workload import Workload
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
    # Slots for twelve streams of two choices each: a stream that moves to another worker must not wait for a slot.
    engine: {kind: vllm, max_running: 24, dtype: float32, context_tokens: 1024, kv_memory_gib: 0.1}
"""
SPARE = 2
"""Workers that must be ready besides the one that gets a fault; one, where there are only two workers."""
READY_S = 400.0
ASK_EVERY_S = 0.2
"""Seconds between two checks. Frequent checks would slow down workers that start on the same cores."""
RESUMED = "tidegate_gateway_resume_gap_seconds_count"


class Injections:
    """Injects faults into ready workers. Several may be down at once, as long as enough are left."""

    def __init__(self, cluster: ClusterUnderTest, workload: Workload, random: Random, every_s: float) -> None:
        self._view, self._workload, self._random, self._every_s = cluster.view, workload, random, every_s
        self._workers = cluster.view.named("worker")
        self._down: dict[str, asyncio.Task[None]] = {}
        self.faults: list[InjectedFault] = []
        self.waiting = asyncio.Event()
        """Set while too few workers are ready for another fault."""

    async def run(self, faults: Sequence[WorkerFault], injections: int, until: float) -> None:
        """Injects so many faults in turn, none after `until`. Returns when every worker is ready again."""
        for fault in islice(cycle(faults), injections):
            ready = await self._enough_ready()
            if time.monotonic() > until:
                break
            await asyncio.sleep(self._random.expovariate(1 / self._every_s))
            worker = self._random.choice(ready)
            self.faults.append(InjectedFault(fault.name, worker, self._workload.now_s(), fault.gap_s))
            self._down[worker] = asyncio.create_task(asyncio.to_thread(fault.inject, worker))
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
    cluster: ClusterUnderTest,
    faults: Sequence[WorkerFault],
    requests: list[Request],
    *,
    streams: int,
    injections: int,
    every_s: float,
    seed: int,
    pauses: bool = False,
    until: float = inf,
) -> Run:
    """Injects one fault after another while streams are open.

    Args:
        cluster: A running cluster.
        faults: Injected in turn.
        requests: The requests to choose from.
        streams: How many are always open.
        injections: How many faults in all.
        every_s: Seconds between two faults, on average.
        seed: Of requests, workers and pauses.
        pauses: No new streams while workers start. On few cores, streams would take real engines the time to start.
        until: Monotonic time after which no fault is injected.
    """
    random = Random(seed)
    workload = Workload(cluster.view.target, random)
    expected = await workload.expected_responses(requests)
    before = await cluster.view.metric("gateway", RESUMED)
    injector = Injections(cluster, workload, random, every_s)
    injecting = asyncio.create_task(injector.run(faults, injections, until))
    try:
        paused = injector.waiting if pauses else None
        await workload.closed_loop(lambda: random.choice(requests), streams, injecting, paused)
    finally:
        workload.close()
    await injecting
    resumed = await cluster.view.metric("gateway", RESUMED) - before
    return Run(workload.log, expected, injector.faults, resumed, await leaks(cluster.view))
