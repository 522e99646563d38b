"""An answer that is cut in many places and resumed from each: what an engine says with and without the cut."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from services.worker.engine.contract import Delta, Ended, Engine, EngineRequest, Event, Prompt, Sampling, Started
from tests.contract.cuts import cut, deltas, points, whole

CUTS = 5
"""Places at which the answer of a slow model is cut, besides the last two."""


@dataclass(frozen=True, slots=True)
class Case:
    """A request whose answer is cut.

    Attributes:
        sampling: Parameters besides those of a greedy answer.
        torn: Every other time the last delta's tokens were delivered, and its text was not.
    """

    prompt: Prompt
    sampling: dict[str, Any] = field(default_factory=dict)
    torn: bool = True


@dataclass(frozen=True, slots=True)
class Resumption:
    """What an engine said.

    Attributes:
        unbroken: The answer without a cut.
        parts: For each cut what was told before it, and what came when the answer was resumed.
        choices: How many choices the answer has.
    """

    unbroken: list[Event]
    parts: list[tuple[list[Delta], list[Event]]]
    choices: int

    def check(self) -> None:
        """Asserts that both parts together are the unbroken answer, wherever it was cut."""
        assert isinstance(self.unbroken[0], Started)
        assert isinstance(self.unbroken[-1], Ended)
        assert self.unbroken[0].resumable
        assert self.parts
        for told, rest in self.parts:
            for choice in range(self.choices):
                assert whole(deltas([*told, *rest], choice)) == whole(deltas(self.unbroken, choice))
            assert isinstance(rest[0], Started)
            assert isinstance(rest[-1], Ended)
            assert rest[-1].usage.completion_tokens == self.unbroken[-1].usage.completion_tokens


async def resume_everywhere(engine: Engine, name: str, case: Case, *, every_cut: bool) -> Resumption:
    """Cuts an answer after each delta, and resumes it from there.

    Args:
        engine: It runs all cuts at the same time.
        name: No other request of the engine begins with it now.
        case: The request.
        every_cut: False: cut it in some places only, because the model is slow.
    """
    sampling = Sampling(**{"temperature": 0.0, "ignore_eos": True, **case.sampling})
    unbroken = await _collect(engine, EngineRequest(name, case.prompt, sampling))
    count = len(unbroken) - 2
    step = 1 if every_cut else max(1, count // CUTS)
    cuts = {at: cut(unbroken, at, torn=case.torn and at % 2 == 0) for at in (*range(1, count, step), count - 1, count)}
    again = (
        EngineRequest(f"{name}, cut after {at}", case.prompt, sampling, resume=points(told))
        for at, told in cuts.items()
    )
    resumed = await asyncio.gather(*(_collect(engine, request) for request in again))
    return Resumption(unbroken, list(zip(cuts.values(), resumed, strict=True)), sampling.n)


async def _collect(engine: Engine, request: EngineRequest) -> list[Event]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]
