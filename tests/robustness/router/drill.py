"""One run: requests all the while, a fault every so often, then a look at what is left."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

from tests.robustness.answer import Answer
from tests.robustness.arena import Arena
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.router.faults import Fault
from tests.robustness.traffic import Sent, Traffic

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
class Struck:
    """When a fault was there, in seconds of the drill."""

    name: str
    from_s: float
    until_s: float
    hides_redis: bool


@dataclass(frozen=True, slots=True)
class Run:
    sent: list[Sent]
    right: dict[Question, Answer]
    struck: list[Struck]
    left: set[str]
    """What should not be there when all requests have ended."""


def questions() -> list[Question]:
    """As often each as it is asked."""
    return [
        chat(f"Where does tide number {prompt} go?", max_tokens=tokens, ignore_eos=True, service_tier=tier)
        for prompt in range(PROMPTS)
        for tokens in LENGTHS
        for tier in TIERS
    ]


async def drill(
    arena: Arena, faults: Sequence[Fault], *, strikes: int, every_s: float, per_second: float, seed: int
) -> Run:
    """Strikes with one fault after another, `every_s` apart, while requests come; the last fault gets time to heal."""
    random, asked = Random(seed), questions()
    traffic = Traffic(arena.view.target, random)
    try:
        right = await traffic.learn(set(asked))
        striking = asyncio.create_task(_strike(traffic, faults, strikes, every_s))
        await traffic.when_due(lambda: random.choice(asked), per_second, striking)
    finally:
        traffic.close()
    return Run(traffic.sent, right, striking.result(), await leftovers(arena.view))


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
