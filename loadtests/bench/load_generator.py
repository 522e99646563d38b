"""The load generator: sends the same requests to every server that is measured, and measures its CPU time."""

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
from loadtests.target import CHAT, EMBEDDINGS, Target

PROMPT_TOKENS = 32
TIMEOUT_S = 120.0


class RequestsFailed(Exception):
    """Some requests failed, so the round cannot be measured."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one round sends.

    With `concurrency` equal to `requests`, all are sent at the same moment. `tokens` is the length of each answer; 0 of
    vectors. `path` is CHAT or EMBEDDINGS.
    """

    requests: int
    concurrency: int
    tokens: int
    streamed: bool
    path: str = CHAT


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The result of one round. `cpu_s` has the CPU seconds of each measured process, in their order."""

    samples: Sequence[Sample]
    seconds: float
    cpu_s: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(sample.output_tokens for sample in self.samples)

    @property
    def tokens_per_s(self) -> float:
        """Throughput in tokens per second."""
        return self.tokens / self.seconds

    @property
    def cpu_us_per_token(self) -> float:
        """CPU microseconds of all measured processes for each token."""
        return 1e6 * sum(self.cpu_s) / self.tokens

    @property
    def cpu_us_per_request(self) -> float:
        """CPU microseconds of all measured processes for each request."""
        return 1e6 * sum(self.cpu_s) / len(self.samples)

    @property
    def tokens_per_event(self) -> float:
        """Tokens in each server-sent event. 1 unless the server joins tokens that arrive together."""
        return self.tokens / sum(len(sample.token_times) for sample in self.samples)

    @property
    def ttft_ms(self) -> float:
        """Median time to first token in milliseconds."""
        return 1e3 * median(ttft for sample in self.samples if (ttft := sample.ttft_s) is not None)

    @property
    def longest_gap_ms(self) -> float:
        """Longest time between two events of one stream, in milliseconds."""
        gaps = (b - a for s in self.samples for a, b in zip(s.token_times, s.token_times[1:], strict=False))
        return 1e3 * max(gaps, default=0.0)


class LoadGenerator:
    """Sends load to one server. Its connections are kept from round to round.

    Args:
        target: The server.
        model: Name of the model.
        processes: The processes whose CPU time is measured.
    """

    def __init__(self, target: Target, model: str, processes: Sequence[psutil.Process]) -> None:
        self._target, self._model, self._processes = target, model, processes
        self._client = Client(target, time.monotonic, TIMEOUT_S)
        self._numbers = count()

    async def run(self, load: Load) -> RoundResult:
        """Runs one round.

        Raises:
            RequestsFailed: A request failed.
        """
        bodies = iter([self._request(load) for _ in range(load.requests)])
        samples: list[Sample] = []
        before, began = self._cpu_s(), time.monotonic()
        await asyncio.gather(*(self._send_one_by_one(bodies, load, samples) for _ in range(load.concurrency)))
        seconds, after = time.monotonic() - began, self._cpu_s()
        if wrong := [sample for sample in samples if sample.outcome is not Outcome.OK]:
            raise RequestsFailed(
                f"{len(wrong)} of {len(samples)} requests to {self._target.base_url} failed: {wrong[0].detail}"
            )
        return RoundResult(samples, seconds, tuple(b - a for a, b in zip(before, after, strict=True)))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _cpu_s(self) -> list[float]:
        return [cpu_s([process]) for process in self._processes]

    async def _send_one_by_one(self, requests: Iterator[bytes], load: Load, samples: list[Sample]) -> None:
        for request in requests:
            sample = Sample(len(samples), "default", load.streamed, time.monotonic())
            samples.append(sample)
            await self._client.perform(request, sample, load.tokens or None)

    def _request(self, load: Load) -> bytes:
        """Every request has its own prompt."""
        prompt = words.text(PROMPT_TOKENS, Random(next(self._numbers)))  # noqa: S311
        if load.path == EMBEDDINGS:
            return self._target.post(load.path, {"model": self._model, "input": prompt})
        body: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": load.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": load.streamed,
        }
        if load.streamed:
            body["stream_options"] = {"include_usage": True}
        return self._target.post(CHAT, body)
