"""The same load for whoever is measured: so many requests, so many of them at once."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from statistics import median

import psutil

from loadtests import words
from loadtests.bench.process import cpu_s
from loadtests.client import Client
from loadtests.sample import Outcome, Sample
from loadtests.target import CHAT, Target

PROMPT_TOKENS = 32
TIMEOUT_S = 120.0


class WrongAnswers(Exception):
    """What cannot be answered cannot be measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """at_once == requests: all are due at the same moment. tokens: of each answer."""

    requests: int
    at_once: int
    tokens: int
    streamed: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What one round of a load came to. `cpu_s` is that of the processes that were weighed, in their order."""

    samples: Sequence[Sample]
    seconds: float
    cpu_s: tuple[float, ...]

    @property
    def tokens(self) -> int:
        return sum(sample.output_tokens for sample in self.samples)

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def cpu_us_per_token(self) -> float:
        return 1e6 * sum(self.cpu_s) / self.tokens

    @property
    def tokens_per_event(self) -> float:
        """1, unless a server joins tokens that came together."""
        return self.tokens / sum(len(sample.token_times) for sample in self.samples)

    @property
    def ttft_ms(self) -> float:
        return 1e3 * median(sample.ttft_s or 0.0 for sample in self.samples)

    @property
    def longest_gap_ms(self) -> float:
        """Between two events of one stream."""
        gaps = (b - a for s in self.samples for a, b in zip(s.token_times, s.token_times[1:], strict=False))
        return 1e3 * max(gaps, default=0.0)


class Asker:
    """Asks one server, on connections that are kept from round to round."""

    def __init__(self, target: Target, model: str, weighed: Sequence[psutil.Process]) -> None:
        self._target, self._model, self._weighed = target, model, weighed
        self._client = Client(target, time.monotonic, TIMEOUT_S)
        self._numbers = count()

    async def ask(self, load: Load) -> Measured:
        """Raises WrongAnswers."""
        bodies = iter([self._request(load) for _ in range(load.requests)])
        samples: list[Sample] = []
        before, began = self._used(), time.monotonic()
        await asyncio.gather(*(self._keep_asking(bodies, load, samples) for _ in range(load.at_once)))
        seconds, after = time.monotonic() - began, self._used()
        if wrong := [sample for sample in samples if sample.outcome is not Outcome.OK]:
            raise WrongAnswers(f"{len(wrong)} of {len(samples)} answers of {self._target.base_url}: {wrong[0].detail}")
        return Measured(samples, seconds, tuple(b - a for a, b in zip(before, after, strict=True)))

    def close(self) -> None:
        self._client.close()

    def _used(self) -> list[float]:
        return [cpu_s([process]) for process in self._weighed]

    async def _keep_asking(self, requests: Iterator[bytes], load: Load, samples: list[Sample]) -> None:
        for request in requests:
            sample = Sample(len(samples), "default", load.streamed, time.monotonic())
            samples.append(sample)
            await self._client.perform(request, sample, load.tokens)

    def _request(self, load: Load) -> bytes:
        """Each with a prompt of its own."""
        prompt = words.text(PROMPT_TOKENS, Random(next(self._numbers)))  # noqa: S311
        asked: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": load.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": load.streamed,
        }
        if load.streamed:
            asked["stream_options"] = {"include_usage": True}
        return self._target.post(CHAT, asked)
