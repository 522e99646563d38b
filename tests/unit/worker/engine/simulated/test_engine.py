"""The simulated engine on a clock that the test moves: what steps cost, and what faults do."""

import asyncio
from contextlib import aclosing

import pytest

from services.shared.clock import SystemClock
from services.shared.engine_settings import SimulatedEngine as Config
from services.shared.settings import WrongSettings
from services.worker.engine.contract import Delta, EngineDead, EngineRequest, Sampling, TextPrompt
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from tests.support.clock import ManualClock
from tests.unit.worker.models import simulated_engine

COSTS = {"step_ms": 10, "sequence_ms": 1, "prefill_ms": 0.5}


async def settle() -> None:
    """Lets every task run until it waits for the clock."""
    for _ in range(10):
        await asyncio.sleep(0)


async def collect(engine: SimulatedEngine, text: str, clock: ManualClock) -> list[float]:
    """Times at which the three tokens of a request arrive."""
    request = EngineRequest(text, TextPrompt(text), Sampling(max_tokens=3, ignore_eos=True))
    async with aclosing(engine.generate(request)) as events:
        return [clock.monotonic() async for event in events if isinstance(event, Delta)]


async def test_a_step_costs_its_base_its_sequences_and_its_prompts() -> None:
    clock = ManualClock(start=0)
    engine = await simulated_engine(clock, costs=COSTS)
    reading = asyncio.create_task(collect(engine, "x" * 20, clock))
    await settle()
    for _ in range(100):
        await clock.advance(0.001)
    # 10 + 1 + 20 prompt tokens at 0.5; then 10 + 1 each.
    assert await reading == pytest.approx([0.021, 0.032, 0.043], abs=0.0015)
    await engine.stop()


async def test_steps_grow_with_the_batch() -> None:
    clock = ManualClock(start=0)
    engine = await simulated_engine(clock, costs={"step_ms": 10, "sequence_ms": 5, "prefill_ms": 0})
    readings = [asyncio.create_task(collect(engine, text, clock)) for text in ("one", "two")]
    await settle()
    for _ in range(100):
        await clock.advance(0.001)
    for arrivals in await asyncio.gather(*readings):
        assert arrivals == pytest.approx([0.02, 0.04, 0.06], abs=0.0015)
    await engine.stop()


async def test_a_hung_engine_takes_no_step_and_goes_on_when_released() -> None:
    clock, faults = ManualClock(), Faults(hang=True)
    engine = await simulated_engine(clock, faults, costs=COSTS)
    reading = asyncio.create_task(collect(engine, "hello", clock))
    await settle()
    await clock.advance(1)
    assert (engine.load().steps, engine.load().running) == (0, 1)
    faults.hang = False
    await clock.advance(1)
    await reading
    assert engine.load().steps == 3
    await engine.stop()


async def test_poison_kills_the_engine_and_everything_in_it() -> None:
    clock, faults = ManualClock(), Faults(poison="venom")
    engine = await simulated_engine(clock, faults, costs=COSTS)
    mate = asyncio.create_task(collect(engine, "hello", clock))
    await settle()
    poison = asyncio.create_task(collect(engine, "some venom", clock))
    await settle()
    await clock.advance(1)
    for task in (mate, poison):
        with pytest.raises(EngineDead):
            await task
    assert engine.death == "the engine crashed"
    assert engine.load().kv_tokens_used == 0
    with pytest.raises(EngineDead):
        await collect(engine, "hello", clock)
    await engine.stop()


def test_a_cache_smaller_than_one_context_is_refused() -> None:
    with pytest.raises(WrongSettings, match="kv_tokens"):
        SimulatedEngine(Config(context_tokens=1024, kv_tokens=512), ManualClock())


async def test_an_answer_that_finds_kv_of_other_weights_is_another_answer() -> None:
    """As with a real model. Swaps never let it happen: here the test says that other weights had computed the KV."""
    engine = await simulated_engine(SystemClock())

    async def answer(name: str) -> list[int]:
        request = EngineRequest(name, TextPrompt("x" * 40), Sampling(max_tokens=8, ignore_eos=True))
        async with aclosing(engine.generate(request)) as events:
            return [token async for event in events if isinstance(event, Delta) for token in event.token_ids]

    first = await answer("first")
    assert await answer("same") == first
    engine._kv.weights = "others"
    assert await answer("stale") != first
    await engine.stop()
