"""The simulated speculator: it changes the pace, and never the text."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from services.shared.engine_settings import SimulatedEngine as Config
from services.worker.engine.contract import Delta, Drafter, Ended, EngineRequest, Sampling, TextPrompt, Usage
from services.worker.engine.simulated.engine import SimulatedEngine
from tests.unit.worker.engine.simulated.test_version import InstantClock
from tests.unit.worker.models import manifest_of, simulated_model

TOKENS = 64


def drafter(folder: Path, acceptance: float, name: str = "draft") -> Drafter:
    made = folder / f"{name}-{acceptance}"
    made.mkdir(exist_ok=True)
    content = json.dumps({"simulated": {"acceptance": acceptance}})
    (made / "config.json").write_text(content)
    return Drafter(made, manifest_of({"config.json": content.encode()}, name))


async def started(draft: Drafter | None, *, kv_tokens: int = 4096) -> SimulatedEngine:
    config = Config.model_validate(
        {
            "context_tokens": 256,
            "kv_tokens": kv_tokens,
            "speculation": {"model": "draft", "tokens": 3, "adaptive": False} if draft else None,
        }
    )
    engine = SimulatedEngine(config, InstantClock())
    await engine.start(replace(simulated_model(), draft=draft))
    return engine


async def answer(engine: SimulatedEngine, prompt: str = "hello", tokens: int = TOKENS) -> tuple[list[int], Usage]:
    request = EngineRequest(prompt, TextPrompt(prompt), Sampling(max_tokens=tokens, ignore_eos=True))
    ids: list[int] = []
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Delta):
                ids += event.token_ids
            if isinstance(event, Ended):
                return ids, event.usage
    raise AssertionError("it never ended")


@pytest.mark.parametrize("acceptance", [0.0, 0.5, 1.0])
async def test_the_text_is_that_without_a_speculator_in_fewer_steps(tmp_path: Path, acceptance: float) -> None:
    plain, drafting = await started(None), await started(drafter(tmp_path, acceptance))
    ids, usage = await answer(drafting)
    assert ids == (await answer(plain))[0]
    load = drafting.load()
    assert usage.completion_tokens == TOKENS
    assert sum(load.accepted) == usage.accepted_draft_tokens
    assert load.steps == plain.load().steps - usage.accepted_draft_tokens
    assert usage.accepted_draft_tokens == pytest.approx({0.0: 0, 0.5: 30, 1.0: 47}[acceptance], abs=9 * acceptance)
    # Each later position is accepted only where the ones before it were.
    assert list(load.accepted) == sorted(load.accepted, reverse=True)
    assert plain.load().drafted == ()
    for engine in (plain, drafting):
        await engine.stop()


async def test_drafts_need_room_for_their_kv_and_preempt_nobody(tmp_path: Path) -> None:
    engine = await started(drafter(tmp_path, 1.0), kv_tokens=256)
    texts = [f"{number} {'x' * 60}" for number in range(6)]
    answers = await asyncio.gather(*(answer(engine, text) for text in texts))
    plain = await started(None)
    assert [ids for ids, _ in answers] == [(await answer(plain, text))[0] for text in texts]
    assert engine.load().kv_tokens_used == 0
    for one in (engine, plain):
        await one.stop()


@pytest.mark.parametrize(("acceptance", "draft_ms", "pays"), [(0.9, 1.0, True), (0.2, 8.0, False)])
async def test_drafts_are_left_out_where_they_do_not_pay(
    tmp_path: Path, acceptance: float, draft_ms: float, pays: bool
) -> None:
    """What costs 24 ms a step and brings a fifth of a token is measured to be slower, and hardly ever drafted again."""
    config = Config.model_validate(
        {
            "context_tokens": 8192,
            "kv_tokens": 16384,
            "step_ms": 10,
            "speculation": {"model": "draft", "tokens": 3, "draft_ms": draft_ms},
        }
    )
    engine = SimulatedEngine(config, SteppingClock())
    await engine.start(replace(simulated_model(), draft=drafter(tmp_path, acceptance)))
    ids, _ = await answer(engine, tokens=2000)
    plain = await started(None)
    assert ids[:TOKENS] == (await answer(plain))[0]
    load = engine.load()
    assert load.drafts is pays
    assert (load.switched_off, load.switched_on) == ((0, 0) if pays else (1, 0))
    assert (load.drafted[0] > 0.8 * load.steps) is pays
    for one in (engine, plain):
        await one.stop()


class SteppingClock(InstantClock):
    """Nobody waits, and time passes all the same."""

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)
