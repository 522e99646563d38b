"""Golden prompts: the proof that the loaded weights are the right ones.

A manifest names prompts and the tokens that only its own weights answer. A worker asks them after every load.
"""

import asyncio
import logging
from contextlib import aclosing

from services.shared.manifests import Golden, Manifest
from services.worker.engine.contract import (
    Adapter,
    Delta,
    Engine,
    EngineDead,
    EngineError,
    EngineRequest,
    Sampling,
    TokenPrompt,
)

log = logging.getLogger(__name__)


class NotProven(Exception):
    """The engine does not answer a golden prompt as the manifest says; the message says where they differ."""


async def prove(engine: Engine, manifest: Manifest, name: str, adapter: Adapter | None = None) -> int:
    """Asks all golden prompts at once and compares the answers token by token.

    A prompt that is longer than the engine's context cannot be asked: it is left out, and the log says so.

    Args:
        engine: An engine that has loaded the version. It runs nothing else, unless the version is an adapter.
        manifest: The version that the engine should have loaded.
        name: Prefix of the ids that the engine's requests get.
        adapter: The adapter that should answer, if the version is one.

    Returns:
        The number of golden prompts that were answered right; 0 when the version has none.

    Raises:
        NotProven: An answer differs, or the engine refused a prompt.
        EngineDead: The engine died meanwhile.
    """
    version = f"{manifest.model}@{manifest.version}"
    if engine.info.dimensions:
        log.warning("%s embeds and answers no golden prompts: nothing proves that it was loaded right", version)
        return 0
    if not manifest.golden:
        log.warning("%s has no golden prompts: nothing proves that it was loaded right", version)
        return 0
    room = engine.info.context_tokens
    asked = {index: golden for index, golden in enumerate(manifest.golden) if _tokens(golden) <= room}
    answers = await asyncio.gather(
        *(_answer(engine, golden, f"{name}-golden-{index}", adapter) for index, golden in asked.items()),
        return_exceptions=True,
    )
    for (index, golden), answer in zip(asked.items(), answers, strict=True):
        _compare(index, golden, answer)
    left_out = len(manifest.golden) - len(asked)
    note = f"; {left_out} left out, longer than this engine's context of {room} tokens" if left_out else ""
    log.info("golden prompts proved: %d of %d for %s%s", len(asked), len(manifest.golden), version, note)
    return len(asked)


def _tokens(golden: Golden) -> int:
    return len(golden.prompt_token_ids) + len(golden.expected_token_ids)


def _compare(index: int, golden: Golden, answer: tuple[int, ...] | BaseException) -> None:
    """Raises NotProven; an error that says nothing about the weights is raised as it is."""
    if isinstance(answer, EngineError) and not isinstance(answer, EngineDead):
        raise NotProven(f"golden prompt {index} was refused: {answer}")
    if isinstance(answer, BaseException):
        raise answer
    if answer != golden.expected_token_ids:
        raise NotProven(f"golden prompt {index}: {_difference(answer, golden.expected_token_ids)}")


async def _answer(engine: Engine, golden: Golden, name: str, adapter: Adapter | None) -> tuple[int, ...]:
    """The engine's greedy answer, as token ids."""
    sampling = Sampling(max_tokens=len(golden.expected_token_ids), temperature=0.0)
    request = EngineRequest(name, TokenPrompt(golden.prompt_token_ids), sampling, adapter=adapter)
    async with aclosing(engine.generate(request)) as events:
        return tuple([token async for event in events if isinstance(event, Delta) for token in event.token_ids])


def _difference(answer: tuple[int, ...], expected: tuple[int, ...]) -> str:
    same = next((i for i, (a, b) in enumerate(zip(answer, expected, strict=False)) if a != b), len(answer))
    if same >= len(expected):
        return f"{len(answer)} tokens, expected {len(expected)}"
    found = answer[same] if same < len(answer) else "missing"
    return f"token {same} is {found}, expected {expected[same]}"
