"""One drill: a steady workload, one fault after another, and then a search for leaks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request, chat
from tests.robustness.response import Response
from tests.robustness.router.faults import Fault
from tests.robustness.workload import RequestLog, Workload

ROUTERS = 4
OPTIONS = ("--routers", str(ROUTERS))
CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 48, step_ms: 8}}
"""
CALM_S = 2.0
LENGTHS = (1, 4, 8, 16)
PROMPTS = 8
TIERS = ("priority", "default", "default", "default", "default", "flex")


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """When a fault was active, in seconds since the workload began. hides_redis: routers could not reach Redis."""

    name: str
    from_s: float
    until_s: float
    hides_redis: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What happened: every request, the expected responses, the faults, and what was left behind."""

    requests: list[RequestLog]
    expected: dict[Request, Response]
    faults: list[InjectedFault]
    leaked: set[str]


def requests() -> list[Request]:
    """All requests of the workload. A tier that stands here more often is sent more often."""
    return [
        chat(f"Where does tide number {prompt} go?", max_tokens=tokens, ignore_eos=True, service_tier=tier)
        for prompt in range(PROMPTS)
        for tokens in LENGTHS
        for tier in TIERS
    ]


async def drill(
    cluster: ClusterUnderTest, faults: Sequence[Fault], *, injections: int, every_s: float, per_second: float, seed: int
) -> Run:
    """Injects one fault after another while requests come.

    Args:
        cluster: A running cluster.
        faults: Injected in turn.
        injections: How many faults in all.
        every_s: Pause after each fault, the last one too, in seconds.
        per_second: Rate of requests.
        seed: Of requests and pauses.
    """
    random, choices = Random(seed), requests()
    workload = Workload(cluster.view.target, random)
    try:
        expected = await workload.expected_responses(set(choices))
        injecting = asyncio.create_task(_inject(workload, faults, injections, every_s))
        await workload.open_loop(lambda: random.choice(choices), per_second, injecting)
    finally:
        workload.close()
    return Run(workload.log, expected, injecting.result(), await leaks(cluster.view))


async def _inject(workload: Workload, faults: Sequence[Fault], injections: int, every_s: float) -> list[InjectedFault]:
    await asyncio.sleep(CALM_S)
    return [await _inject_once(workload, fault, every_s) for fault in islice(cycle(faults), injections)]


async def _inject_once(workload: Workload, fault: Fault, every_s: float) -> InjectedFault:
    began = workload.now_s()
    await asyncio.to_thread(fault.inject)
    await asyncio.sleep(fault.lasts_s)
    await asyncio.to_thread(fault.recover)
    injected = InjectedFault(fault.name, began, workload.now_s(), fault.hides_redis)
    await asyncio.sleep(every_s)
    return injected
