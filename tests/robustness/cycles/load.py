"""Streamed requests at a given rate. Each answer is held against what the version that it names says there."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random

import httpx

from tests.robustness.swaps.answer import LongAnswer

TOKENS, AT_LENGTH = 12, 240
"""Of an answer, and of a long one, which runs for a second and more."""
LONG_SHARE = 1 / 16
_SUBJECTS = ("harbour", "moon", "lantern", "ebb", "flood", "pilot", "buoy", "gull", "reef", "anchor")
_PREAMBLE = "You keep the tide tables of a small port, and you answer in one short sentence. "
"""Of several blocks of KV: most of each prompt is found in the prefix cache."""
_MOST_SHOWN = 20


@dataclass(slots=True)
class Load:
    """What was asked, and what came back.

    Attributes:
        answers: Those that have ended, in the order in which they did.
        longest_s: The longest time in which a request that ran got nothing, from its sending on.
        cached: Answers that found a part of their prompt in the prefix cache.
    """

    answers: list[LongAnswer] = field(default_factory=list)
    longest_s: float = 0.0
    cached: int = 0

    @property
    def crossings(self) -> int:
        """Changes of version within answers."""
        return sum(len(answer.pieces) - 1 for answer in self.answers if answer.pieces)

    def violations(self, weights: dict[str, str]) -> list[str]:
        """What was wrong; nothing, if all is well.

        Args:
            weights: SHA-256 of each version's weights, by its fingerprint.
        """
        wrong = [
            said
            for answer in self.answers
            if (said := answer.wrong(weights, _tokens(answer.question)) or _length(answer))
        ]
        more = [f"and {len(wrong) - _MOST_SHOWN} more"] if len(wrong) > _MOST_SHOWN else []
        return [*wrong[:_MOST_SHOWN], *more]


@asynccontextmanager
async def load(
    http: httpx.AsyncClient, model: str, per_second: float, random: Random, *, long_share: float = LONG_SHARE
) -> AsyncIterator[Load]:
    """Requests while the block runs, at this rate whatever becomes of them. At the end all of them are awaited.

    Args:
        http: A client of a gateway, with its base URL up to `/v1/`.
        model: The pool.
        per_second: Rate.
        random: Of the questions and their times.
        long_share: So much of the answers is long.
    """
    made, stop = Load(), asyncio.Event()
    sending = asyncio.create_task(_send(http, model, per_second, random, made, stop, long_share))
    try:
        yield made
    finally:
        stop.set()
        await sending


async def _send(
    http: httpx.AsyncClient,
    model: str,
    per_second: float,
    random: Random,
    made: Load,
    stop: asyncio.Event,
    long_share: float,
) -> None:
    now = asyncio.get_running_loop().time
    due = now()
    async with asyncio.TaskGroup() as running:
        for _ in count():
            if stop.is_set():
                return
            due += random.expovariate(per_second)
            await asyncio.sleep(max(0.0, due - now()))
            running.create_task(_ask(http, model, _question(random, long_share), made, now))


def _question(random: Random, long_share: float) -> str:
    asked = f"{_PREAMBLE}What does the {random.choice(_SUBJECTS)} say of the {random.choice(_SUBJECTS)}"
    return f"{asked}, at length?" if random.random() < long_share else f"{asked}?"


def _tokens(question: str) -> int:
    return AT_LENGTH if question.endswith("at length?") else TOKENS


async def _ask(http: httpx.AsyncClient, model: str, question: str, made: Load, now: Callable[[], float]) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": _tokens(question),
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer, heard = LongAnswer(question), now()
    try:
        async with http.stream("POST", "chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                if response.status_code != httpx.codes.OK:
                    answer.failure = f"{response.status_code}: {line}"
                elif line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    made.longest_s, heard = max(made.longest_s, now() - heard), now()
                    made.cached += bool(_cached(event))
                    answer.take(event)
    except httpx.HTTPError as error:
        answer.failure = f"{type(error).__name__}: {error}"
    made.answers.append(answer)


def _cached(event: dict[str, object]) -> int:
    usage = event.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return int(details.get("cached_tokens") or 0) if isinstance(details, dict) else 0


def _length(answer: LongAnswer) -> str:
    """Every token of the simulated engine is a word with a space in front."""
    words = sum(len(piece.text.split()) for piece in answer.pieces)
    wanted = _tokens(answer.question)
    return "" if words == wanted else f"{answer.question}: {words} words and not {wanted}"
