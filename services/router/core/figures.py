"""What finished requests say about a model version, as counts that add up: kept in Redis, never in one process.

There is one hash for each version and class. Its fields are counters:

    requests:WINDOW  failed:WINDOW  structured:WINDOW  broken:WINDOW
    FIGURE:SLICE:STRATUM:BUCKET          for the figures ttft, tpot and length

Time is divided into windows. Failures are compared within a window, so that a fault which hits both versions blames
neither. Histograms need fewer cells: their windows are dealt out to three slices in turn. A disturbance that is shorter
than a window never reaches all three.

A stratum holds requests that may be compared: of a like load of their worker, and for first tokens also of a like
number of prompt tokens that were not cached. Buckets are a twentieth wide.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

WINDOW_S = 5.0
WINDOW_GROWTH = 0.05
"""From 100 s on, windows are a twentieth of the time since the start, so that even a long rollout has few."""
MAX_WINDOW = 255
SLICES = 3
STEP = math.log(1.05)
MAX_BUCKET = 255
MAX_LOAD = 7
MAX_PREFILL = 10


class Figure(StrEnum):
    """What is compared. Times are in seconds."""

    ERRORS = "errors"
    TTFT = "ttft"
    TPOT = "tpot"
    LENGTH = "length"
    STRUCTURED = "structured"


FLOORS = {Figure.TTFT: 0.02, Figure.TPOT: 0.002, Figure.LENGTH: 1.0}
"""Values up to here are not told apart: nobody notices the difference."""

Histogram = Counter[int]
"""Requests by bucket."""
Cell = tuple[int, str]
"""Slice and stratum."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to, or one attempt at it.

    Attributes:
        service_class: Its class.
        failed: The version or its worker is at fault.
        ttft_s: Time from its grant to its first token; None if not known.
        tpot_s: Time for each output token after the first; None if not known.
        tokens: Of each choice; None if it did not come to its end.
        structured: It asked for a grammar or a schema.
        broken: It asked for one, and did not get a whole one.
        load: Requests on its worker.
        prefill: Prompt tokens that were not cached.
    """

    service_class: str
    failed: bool = False
    ttft_s: float | None = None
    tpot_s: float | None = None
    tokens: float | None = None
    structured: bool = False
    broken: bool = False
    load: int = 0
    prefill: int = 0

    def fields(self, window: int) -> Iterator[str]:
        """The counters that it raises by one."""
        yield f"requests:{window}"
        if self.failed:
            yield f"failed:{window}"
        if self.structured:
            yield f"structured:{window}"
        if self.structured and self.broken:
            yield f"broken:{window}"
        load = min(self.load.bit_length(), MAX_LOAD)
        prefill = min(self.prefill.bit_length() // 2, MAX_PREFILL)
        for figure, value, stratum in (
            (Figure.TTFT, self.ttft_s, f"{load}.{prefill}"),
            (Figure.TPOT, self.tpot_s, f"{load}"),
            (Figure.LENGTH, self.tokens, ""),
        ):
            if value is not None:
                yield f"{figure}:{window % SLICES}:{stratum}:{bucket_of(figure, value)}"


@dataclass(slots=True)
class Figures:
    """The counters of one version and class.

    Attributes:
        requests: By window, as the three after it.
        failed: Requests that failed through the fault of the version or its worker.
        structured: Requests that asked for a grammar or a schema.
        broken: Those of them that did not get a whole one.
        histograms: By figure, and by slice and stratum.
    """

    requests: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    structured: Counter[int] = field(default_factory=Counter)
    broken: Counter[int] = field(default_factory=Counter)
    histograms: dict[Figure, dict[Cell, Histogram]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of_hash(cls, stored: Mapping[str, str | int]) -> "Figures":
        """Reads the fields of a Redis hash. Fields of a later release are left out."""
        figures = cls()
        windows = {name: getattr(figures, name) for name in ("requests", "failed", "structured", "broken")}
        for name, count in stored.items():
            kind, *rest = name.split(":")
            if kind in windows and len(rest) == 1:
                windows[kind][int(rest[0])] += int(count)
            elif kind in FLOORS and len(rest) == 3:
                cell = (int(rest[0]), rest[1])
                histogram = figures.histograms[Figure(kind)].setdefault(cell, Counter())
                histogram[int(rest[2])] += int(count)
        return figures

    def whole(self, figure: Figure) -> Histogram:
        """One histogram of all slices and strata."""
        total: Histogram = Counter()
        for histogram in self.histograms.get(figure, {}).values():
            total.update(histogram)
        return total

    def median(self, figure: Figure) -> float | None:
        """The middle of the bucket with the median; None without values."""
        histogram = self.whole(figure)
        half, seen = histogram.total() / 2, 0
        for bucket in sorted(histogram):
            seen += histogram[bucket]
            if seen >= half:
                return value_of(figure, bucket)
        return None


def window_of(elapsed_s: float) -> int:
    """The window of a moment, `elapsed_s` after the start of the comparison."""
    steady = WINDOW_S / WINDOW_GROWTH
    if elapsed_s < steady:
        return max(0, int(elapsed_s / WINDOW_S))
    grown = math.log(elapsed_s / steady) / math.log1p(WINDOW_GROWTH)
    return min(int(1 / WINDOW_GROWTH + grown), MAX_WINDOW)


def bucket_of(figure: Figure, value: float) -> int:
    """The bucket of a value."""
    return min(int(math.log(max(value / FLOORS[figure], 1.0)) / STEP), MAX_BUCKET)


def value_of(figure: Figure, bucket: int) -> float:
    """The middle of a bucket; for the lowest one its upper end, below which nothing is told apart."""
    return FLOORS[figure] * math.exp(STEP * (bucket + 0.5)) if bucket else FLOORS[figure]
