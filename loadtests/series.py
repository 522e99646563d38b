"""A run over time: what happened in each interval."""

import math
from collections.abc import Iterable, Sequence

from loadtests.sample import Sample
from loadtests.strict import Strict

MAX_INTERVALS = 300


class Series(Strict):
    """Item i belongs to the interval that begins at i * interval_s."""

    interval_s: float
    due: list[int]
    sent: list[int]
    ended: list[int]
    events: list[int]
    """Streamed events with text: output tokens when each event carries one."""
    in_flight: list[int]
    """Largest number of requests in flight at the same time."""


def interval(elapsed_s: float) -> float:
    """Length of an interval in whole seconds, so that the run has at most MAX_INTERVALS."""
    return float(max(1, math.ceil(elapsed_s / MAX_INTERVALS)))


def series(samples: Sequence[Sample], elapsed_s: float) -> Series:
    """Computes the series of a run."""
    step = interval(elapsed_s)
    size = int(elapsed_s / step) + 1
    return Series(
        interval_s=step,
        due=_counts((sample.due_s for sample in samples), step, size),
        sent=_counts((sample.sent_s for sample in samples if sample.sent_s is not None), step, size),
        ended=_counts((sample.ended_s for sample in samples if sample.ended_s is not None), step, size),
        events=_counts((time for sample in samples for time in sample.token_times), step, size),
        in_flight=_most_open(samples, step, size),
    )


def _counts(times: Iterable[float], step: float, size: int) -> list[int]:
    counts = [0] * size
    for time in times:
        counts[min(int(time / step), size - 1)] += 1
    return counts


def _most_open(samples: Sequence[Sample], step: float, size: int) -> list[int]:
    changes = sorted(
        change
        for sample in samples
        if sample.sent_s is not None and sample.ended_s is not None
        for change in ((sample.sent_s, 1), (sample.ended_s, -1))
    )
    most, running, begun = [0] * size, 0, 0
    for time, change in changes:
        index = min(int(time / step), size - 1)
        for quiet in range(begun + 1, index + 1):
            most[quiet] = running
        begun = max(begun, index)
        running += change
        most[index] = max(most[index], running)
    return most
