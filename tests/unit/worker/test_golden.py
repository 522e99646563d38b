"""What counts as a proof that the right weights were loaded."""

import logging
from pathlib import Path

import pytest

from services.shared.manifests import Golden, Manifest, make
from services.worker.engine.contract import EngineDead, Model
from services.worker.golden import NotProven, prove
from tests.unit.worker.models import manifest_of
from tests.unit.worker.scripted import ScriptedEngine, says

PLAIN = manifest_of({"model.safetensors": b"weights"})
RIGHT = says(Model(Path(), PLAIN))


def manifest(*golden: Golden) -> Manifest:
    return make(**PLAIN.model_dump(exclude={"version"}) | {"golden": golden})


def engine(*, wrong: tuple[str, ...] = ()) -> ScriptedEngine:
    return ScriptedEngine(Model(Path(), PLAIN), wrong=wrong)


def golden(*expected: int, prompt: int = 1) -> Golden:
    return Golden(prompt_token_ids=(7,) * prompt, expected_token_ids=expected)


async def test_right_answers_are_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    version = manifest(golden(RIGHT), golden(RIGHT, prompt=2))
    assert await prove(engine(), version, "start") == 2
    assert f"golden prompts proved: 2 of 2 for tide@{version.version}" in caplog.messages


async def test_a_version_without_golden_prompts_passes_and_the_log_warns(caplog: pytest.LogCaptureFixture) -> None:
    assert await prove(engine(), manifest(), "start") == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "has no golden prompts" in caplog.text


async def test_a_wrong_token_is_named_with_its_place() -> None:
    with pytest.raises(NotProven, match=f"golden prompt 1: token 0 is {RIGHT}, expected {RIGHT + 1}"):
        await prove(engine(), manifest(golden(RIGHT), golden(RIGHT + 1)), "start")


async def test_a_shorter_answer_is_wrong() -> None:
    with pytest.raises(NotProven, match="golden prompt 0: token 1 is missing, expected 9"):
        await prove(engine(), manifest(golden(RIGHT, 9)), "start")


async def test_a_prompt_longer_than_the_context_is_left_out_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    room = engine().info.context_tokens
    assert await prove(engine(), manifest(golden(RIGHT), golden(RIGHT, prompt=room)), "start") == 1
    assert f"1 left out, longer than this engine's context of {room} tokens" in caplog.text


async def test_a_dead_engine_proves_nothing() -> None:
    dead = engine()
    await dead.stop()
    with pytest.raises(EngineDead):
        await prove(dead, manifest(golden(RIGHT)), "start")
