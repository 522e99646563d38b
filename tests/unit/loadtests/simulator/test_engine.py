"""The engine that takes steps in stretches against the worker's own simulated engine, request by request."""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

import pytest

from loadtests.simulator.engine import Answering, Engine, answering
from services.shared.engine_settings import SimulatedEngine as Config
from services.worker.engine.contract import Ended, EngineRequest, Sampling, Started, TokenPrompt
from services.worker.engine.simulated.engine import SimulatedEngine
from tests.support.clock import ManualClock
from tests.unit.worker.models import simulated_model

ROOMY = Config(max_running=4, context_tokens=2048, kv_tokens=16_384, block_tokens=64, step_tokens=256)
TIGHT = Config(max_running=8, context_tokens=2048, kv_tokens=3072, block_tokens=64, step_tokens=256)


@dataclass(frozen=True)
class Case:
    at_ms: float
    prompt: tuple[int, ...]
    output: int


@dataclass(frozen=True)
class Times:
    first_ms: float
    last_ms: float
    cached_tokens: int


def cases(seed: int) -> list[Case]:
    """Beginnings in common, of which some come back after they were driven out."""
    random = Random(seed)
    at_ms, found = 0.0, []
    for index in range(60):
        at_ms += random.expovariate(1 / 25)
        shared = [300 + random.randrange(4)] * random.choice((0, 128, 640))
        own = [1000 + index] * random.randrange(20, 500)
        found.append(Case(at_ms, tuple(shared + own), random.randrange(1, 120)))
    return found


def chain(case: Case, block_tokens: int) -> tuple[bytes, ...]:
    """Answers are all different, so their blocks are named by the case."""
    tokens = [*case.prompt, *([hash(case) % 2**32] * case.output)]
    names, name = [], b""
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        block = tokens[start : start + block_tokens]
        name = blake2b(name + struct.pack(f"<{block_tokens}I", *block), digest_size=8).digest()
        names.append(name)
    return tuple(names)


def in_stretches(config: Config, asked: Sequence[Case]) -> list[Times]:
    engine = Engine(config)
    sequences = [answering(chain(case, config.block_tokens), len(case.prompt), case.output) for case in asked]
    first: dict[Answering, float] = {}
    last: dict[Answering, float] = {}

    def advance(until_ms: float) -> None:
        while engine.due_ms < until_ms:
            now_ms = engine.due_ms
            for gained in engine.advance():
                first.update({gained.sequence: now_ms} if gained.first else {})
                last.update({gained.sequence: now_ms} if gained.last else {})

    for case, sequence in zip(asked, sequences, strict=True):
        advance(case.at_ms)
        engine.add(sequence, case.at_ms)
    advance(float("inf"))
    return [Times(first[s], last[s], s.cached_tokens or 0) for s in sequences]


async def step_by_step(config: Config, asked: Sequence[Case]) -> list[Times]:
    clock = ManualClock(0.0)
    engine = SimulatedEngine(config, clock)
    await engine.start(simulated_model())

    async def ask(case: Case) -> Times:
        await clock.sleep(case.at_ms / 1000)
        sampling = Sampling(max_tokens=case.output, ignore_eos=True)
        first, cached = 0.0, 0
        async for event in engine.generate(EngineRequest("r", TokenPrompt(case.prompt), sampling)):
            if isinstance(event, Started):
                first, cached = 1000 * clock.monotonic(), event.cached_tokens
            if isinstance(event, Ended):
                return Times(first, 1000 * clock.monotonic(), cached)
        raise AssertionError("an answer without an end")

    asking = [asyncio.create_task(ask(case)) for case in asked]
    await asyncio.sleep(0)  # They go to sleep, each until its own moment.
    while not all(task.done() for task in asking):
        await clock.advance(1.0)
    await engine.stop()
    return [task.result() for task in asking]


@pytest.mark.parametrize("config", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_stretches_come_to_what_single_steps_come_to(config: Config, seed: int) -> None:
    asked = cases(seed)
    expected = await step_by_step(config, asked)
    found = in_stretches(config, asked)
    assert [t.cached_tokens for t in found] == [t.cached_tokens for t in expected]
    for mine, real in zip(found, expected, strict=True):
        assert (mine.first_ms, mine.last_ms) == pytest.approx((real.first_ms, real.last_ms), abs=1e-3)
    assert any(t.cached_tokens for t in found), "the cases share nothing: they prove little"


def test_what_is_removed_leaves_with_the_step_that_runs() -> None:
    engine = Engine(ROOMY)
    sequence = answering((), 10, 100)
    engine.add(sequence, 0.0)
    engine.advance()
    engine.advance()
    assert engine.due_ms > 500
    engine.remove(sequence, engine_now := 20.0)
    assert engine_now <= engine.due_ms <= engine_now + 6
    engine.advance()
    assert (engine.sequences, engine.kv.used_tokens, sequence.size) == (0, 0, 10 + 4)
