"""The figures of a run: latencies, goodput, throughput and errors, of one tier or of all. Pure arithmetic."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Self

from pydantic import Field

from loadtests.profile import Objectives
from loadtests.sample import Outcome, Sample
from loadtests.strict import Strict


def percentile(ascending: Sequence[float], p: float) -> float:
    """Linear interpolation between the two nearest ranks, as numpy's default (Hyndman and Fan 1996, type 7).

    Args:
        ascending: The values, sorted.
        p: 0 to 100.
    """
    rank = (len(ascending) - 1) * p / 100
    low = math.floor(rank)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (rank - low)


class Spread(Strict):
    """Exact percentiles of all values, in milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float | None]) -> Self | None:
        """From values in seconds. None when there are no values."""
        ms = sorted(1000 * value for value in seconds if value is not None)
        if not ms:
            return None
        p50, p90, p95, p99 = (percentile(ms, p) for p in (50, 90, 95, 99))
        return cls(count=len(ms), mean=math.fsum(ms) / len(ms), p50=p50, p90=p90, p95=p95, p99=p99, max=ms[-1])


class Goodput(Strict):
    """Requests that met all their objectives. `share` is relative to every request that was due, sent or not."""

    met: int
    share: float
    per_s: float
    missed: dict[str, int] = Field(
        description="requests that were answered but missed this objective; one request may count several times"
    )


class Figures(Strict):
    """Latencies are those of answered requests. The others count in `outcomes` and against goodput."""

    due: int
    sent: int
    outcomes: dict[str, int]
    goodput: Goodput
    ttft_ms: Spread | None
    tpot_ms: Spread | None
    itl_ms: Spread | None
    e2e_ms: Spread | None
    lag_ms: Spread | None = Field(description="time from due to sent, of all sent requests")
    requests_per_s: float = Field(description="answered requests per second")
    prompt_tokens_per_s: float
    output_tokens_per_s: float

    @property
    def errors(self) -> dict[str, int]:
        """The outcomes without the answered requests."""
        return {kind: count for kind, count in self.outcomes.items() if kind != Outcome.OK}


def missed(sample: Sample, objectives: Objectives) -> list[str]:
    """The objectives that an answered request missed. Without streaming, only the end-to-end time counts."""
    measured = (
        ("ttft", sample.ttft_s, objectives.ttft_ms),
        ("tpot", sample.tpot_s, objectives.tpot_ms),
        ("e2e", sample.e2e_s, objectives.e2e_ms),
    )
    return [name for name, took, limit in measured if took is not None and limit is not None and 1000 * took > limit]


def figures(samples: Sequence[Sample], objectives: dict[str, Objectives], elapsed_s: float) -> Figures:
    """Computes the figures.

    Args:
        samples: All requests that were due.
        objectives: By the name of the tier.
        elapsed_s: Seconds from the start of the run to the end of its last answer.
    """
    answered = [sample for sample in samples if sample.ok]
    return Figures(
        due=len(samples),
        sent=sum(sample.sent_s is not None for sample in samples),
        outcomes=dict(Counter(sample.outcome.value for sample in samples).most_common()),
        goodput=_goodput(samples, objectives, elapsed_s),
        ttft_ms=Spread.of(sample.ttft_s for sample in answered),
        tpot_ms=Spread.of(sample.tpot_s for sample in answered),
        itl_ms=Spread.of(gap for sample in answered if sample.streamed for gap in gaps(sample)),
        e2e_ms=Spread.of(sample.e2e_s for sample in answered),
        lag_ms=Spread.of(sample.lag_s for sample in samples),
        requests_per_s=len(answered) / elapsed_s,
        prompt_tokens_per_s=sum(sample.prompt_tokens for sample in answered) / elapsed_s,
        output_tokens_per_s=sum(sample.output_tokens for sample in answered) / elapsed_s,
    )


def gaps(sample: Sample) -> Iterable[float]:
    """Seconds between events of one stream: the inter-token latency when each event has one token."""
    return (later - earlier for earlier, later in pairwise(sample.token_times))


def _goodput(samples: Sequence[Sample], objectives: dict[str, Objectives], elapsed_s: float) -> Goodput:
    misses = [missed(sample, objectives[sample.tier]) for sample in samples if sample.ok]
    met = sum(not each for each in misses)
    return Goodput(
        met=met,
        share=met / len(samples) if samples else 0.0,
        per_s=met / elapsed_s,
        missed=dict(Counter(name for each in misses for name in each)),
    )
