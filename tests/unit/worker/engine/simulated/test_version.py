"""What the config.json of a simulated version changes."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from services.worker.engine.contract import EngineError, EngineRequest, Model, Sampling, SwapFailed, TextPrompt
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.version import SimulatedVersion
from tests.support.clock import ManualClock
from tests.unit.worker.engine.simulated.test_engine import settle
from tests.unit.worker.models import simulated_engine, simulated_model


def version(folder: Path, **costs: object) -> Model:
    (folder / "config.json").write_text(json.dumps({"architectures": ["Simulated"], "simulated": costs}))
    return replace(simulated_model(b"other"), folder=folder)


async def answered(engine: SimulatedEngine) -> bool:
    """Whether a request of one token succeeds."""
    try:
        async with aclosing(engine.generate(EngineRequest("r", TextPrompt("hi"), Sampling(max_tokens=1)))) as events:
            return bool([event async for event in events])
    except EngineError:
        return False


async def test_a_slower_version_takes_longer_for_each_step(tmp_path: Path) -> None:
    clock = ManualClock(start=0)
    engine = await simulated_engine(clock, costs={"step_ms": 10, "sequence_ms": 0, "prefill_ms": 0})
    engine._version = SimulatedVersion(version(tmp_path, slowdown=1.5))
    asking = asyncio.create_task(answered(engine))
    await settle()
    took_ms = 0
    while not asking.done():
        await clock.advance(0.001)
        await settle()
        took_ms += 1
        assert took_ms < 100
    assert await asking
    assert took_ms == pytest.approx(15, abs=1)
    await engine.stop()


async def test_a_part_of_the_requests_fails_the_same_part_each_time(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        engine = await simulated_engine(ManualClock(), costs={"step_ms": 0, "sequence_ms": 0, "prefill_ms": 0})
        engine._clock = InstantClock()
        await engine.swap(version(tmp_path, failing=0.2))
        seen.append([await answered(engine) for _ in range(50)])
        await engine.stop()
    assert seen[0] == seen[1]
    assert 4 <= seen[0].count(False) <= 18


class InstantClock(ManualClock):
    """Nobody waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("wrong", [{"slowdown": 0}, {"failing": 2}, {"slow": 1}, {"failing": "often"}])
async def test_a_wrong_value_refuses_the_version(tmp_path: Path, wrong: dict[str, object]) -> None:
    engine = await simulated_engine(InstantClock())
    with pytest.raises(SwapFailed, match=f"config.json: simulated: .*\n{next(iter(wrong))}") as refused:
        await engine.swap(version(tmp_path, **wrong))
    assert refused.value.intact
    assert await answered(engine)
    await engine.stop()
