"""Golden prompts: what only the right weights answer."""

import asyncio
import logging
from contextlib import aclosing

from services.shared.manifests import Golden, Manifest
from services.worker.engine.contract import Delta, Engine, EngineDead, EngineError, EngineRequest, Sampling, TokenPrompt

log = logging.getLogger(__name__)


class NotProven(Exception):
    """The engine does not answer as these weights must."""


async def prove(engine: Engine, manifest: Manifest, name: str) -> None:
    """Asks every golden prompt, all at once; `name` is for the engine's requests. Raises NotProven, EngineDead."""
    if not manifest.golden:
        log.warning("%s@%s has no golden prompts: nothing proves this load", manifest.model, manifest.version)
    asked = (_greedy(engine, golden, f"{name}-golden-{index}") for index, golden in enumerate(manifest.golden))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for index, (answered, golden) in enumerate(zip(answers, manifest.golden, strict=True)):
        if isinstance(answered, BaseException):
            raise _failed(index, answered)
        if answered != golden.expected_token_ids:
            raise NotProven(f"golden prompt {index}: {_difference(answered, golden.expected_token_ids)}")


def _failed(index: int, error: BaseException) -> BaseException:
    if isinstance(error, EngineError) and not isinstance(error, EngineDead):
        return NotProven(f"golden prompt {index} was refused: {error}")
    return error


async def _greedy(engine: Engine, golden: Golden, name: str) -> tuple[int, ...]:
    sampling = Sampling(max_tokens=len(golden.expected_token_ids), temperature=0.0)
    request = EngineRequest(name, TokenPrompt(golden.prompt_token_ids), sampling)
    async with aclosing(engine.generate(request)) as events:
        return tuple([token async for event in events if isinstance(event, Delta) for token in event.token_ids])


def _difference(answered: tuple[int, ...], expected: tuple[int, ...]) -> str:
    same = next((i for i, (a, b) in enumerate(zip(answered, expected, strict=False)) if a != b), len(answered))
    if same >= len(expected):
        return f"{len(answered)} tokens, expected {len(expected)}"
    said = answered[same] if same < len(answered) else "missing"
    return f"token {same} is {said}, expected {expected[same]}"
