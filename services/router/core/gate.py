"""The gate of a rollout: judges the new version beside the old one, by class and figure (figures.py, sequential.py)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.router.core.figures import SLICES, STEP, Figure, Figures
from services.router.core.sequential import Window, log_e_of_failures, log_e_of_ranks
from services.shared.gates import Gates

FALSE_FAILURES = 0.01
"""Chance that a version which fails as often as the old one is ever stopped for it, in each class."""
FALSE_TIMES = 0.001
"""The same of a slice, for times and tokens. All three slices must agree."""
FEWEST_IN_SLICE = 30
FEWEST_FAILURES = 4
FEWEST_WINDOWS = 3
"""Windows in which requests of the new version must have failed: one event is no rate."""


class Decision(StrEnum):
    """What a gate says."""

    WAIT = "wait"
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one class, of both versions.

    Attributes:
        old: A rate, or a median in seconds or tokens; None without requests. `new` likewise.
        bound: By how much `new` may be worse; None: it is not judged.
        old_requests: Requests behind `old`. `new_requests` likewise.
        worse: It is worse by more than the bound, beyond chance.
    """

    service_class: str
    figure: Figure
    old: float | None
    new: float | None
    bound: float | None
    old_requests: int
    new_requests: int
    worse: bool

    @property
    def is_rate(self) -> bool:
        """Whether the values are parts of requests."""
        return self.figure in (Figure.ERRORS, Figure.STRUCTURED)

    @property
    def change(self) -> float | None:
        """The difference of rates, or the relative difference of medians; None if a value is missing."""
        if self.old is None or self.new is None:
            return None
        return self.new - self.old if self.is_rate else self.new / self.old - 1

    def describe(self) -> str:
        """The figure in words, such as "tpot of default: 6.6 ms, +29 % (old version: 5.1 ms, bound: 15 %)"."""
        change, bound = self.change or 0.0, self.bound or 0.0
        by, limit = (f"{change:+.2%}", f"{bound:.2%}") if self.is_rate else (f"{change:+.0%}", f"{bound:.0%}")
        return (
            f"{self.figure} of {self.service_class}: {show(self.figure, self.new)}, {by} (old version: "
            f"{show(self.figure, self.old)}, bound: {limit}; {self.new_requests} and {self.old_requests} requests)"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and why, for operators.

    Attributes:
        decision: Whether the rollout goes on.
        reason: Why, in one line.
        rows: The figures that it is made of.
        opened_ms: Beginning of the comparison, in Unix milliseconds; 0 before it.
        idle: Since then no request has come to the pool, so nothing can be said of any version.
    """

    decision: Decision
    reason: str
    rows: tuple[Row, ...] = ()
    opened_ms: int = 0
    idle: bool = False

    @property
    def worse(self) -> Row | None:
        """The figure that is worse, if there is one."""
        return next((row for row in self.rows if row.worse), None)


def show(figure: Figure, value: float | None) -> str:
    """A value with its unit."""
    if value is None:
        return "-"
    match figure:
        case Figure.ERRORS | Figure.STRUCTURED:
            return f"{value:.2%}"
        case Figure.LENGTH:
            return f"{value:.0f}"
        case _:
            return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def judge(old: Mapping[str, Figures], new: Mapping[str, Figures], bounds: Gates) -> Verdict:
    """Judges the new version.

    Args:
        old: Figures of the old version by class.
        new: Figures of the new version, from the same time.
        bounds: How much worse it may be.

    Returns:
        FAIL with the first figure that is worse; PASS when each version has finished enough requests of a class over
        enough time; else WAIT.
    """
    rows = tuple(compare(old, new, bounds))
    if worse := next((row for row in rows if row.worse), None):
        return Verdict(Decision.FAIL, worse.describe(), rows)
    of_requests = [row for row in rows if row.figure is Figure.ERRORS]
    enough = [row for row in of_requests if min(row.old_requests, row.new_requests) >= bounds.requests]
    if enough:
        told = ", ".join(f"{row.new_requests} and {row.old_requests} of {row.service_class}" for row in enough)
        return Verdict(Decision.PASS, f"no figure is worse after requests to the new and the old version: {told}", rows)
    most = max(of_requests, key=lambda row: min(row.old_requests, row.new_requests), default=None)
    seen = f"{most.new_requests} and {most.old_requests} of {most.service_class}" if most else "none"
    return Verdict(Decision.WAIT, f"needs {bounds.requests} requests to each version; new and old so far: {seen}", rows)


def compare(old: Mapping[str, Figures], new: Mapping[str, Figures], bounds: Gates) -> list[Row]:
    """A row for each class that both versions have served, and figure that has requests."""
    return [
        row
        for service_class in sorted(old.keys() & new.keys())
        for row in _rows(service_class, old[service_class], new[service_class], bounds)
    ]


def _rows(service_class: str, old: Figures, new: Figures, bounds: Gates) -> Iterator[Row]:
    yield _rate(service_class, Figure.ERRORS, _windows(old, new, "requests", "failed"), bounds.errors)
    for figure, bound in ((Figure.TTFT, bounds.ttft), (Figure.TPOT, bounds.tpot), (Figure.LENGTH, bounds.length)):
        if row := _sizes(service_class, figure, old, new, bound):
            yield row
    if old.structured.total() or new.structured.total():
        windows = _windows(old, new, "structured", "broken")
        yield _rate(service_class, Figure.STRUCTURED, windows, bounds.structured)


def _windows(old: Figures, new: Figures, all_: str, failed: str) -> list[Window]:
    counters = (getattr(old, all_), getattr(old, failed), getattr(new, all_), getattr(new, failed))
    windows = sorted({window for counter in counters for window in counter})
    return [(counters[0][w], counters[1][w], counters[2][w], counters[3][w]) for w in windows]


def _rate(service_class: str, figure: Figure, windows: list[Window], bound: float | None) -> Row:
    old, old_failed, new, new_failed = (sum(column) for column in zip(*windows, strict=True)) if windows else (0,) * 4
    old_rate, new_rate = old_failed / old if old else None, new_failed / new if new else None
    worse = (
        bound is not None
        and old_rate is not None
        and new_rate is not None
        and new_rate - old_rate > bound
        and new_failed >= FEWEST_FAILURES
        and sum(failed > 0 for *_, failed in windows) >= FEWEST_WINDOWS
        and log_e_of_failures(windows) >= -math.log(FALSE_FAILURES)
    )
    return Row(service_class, figure, old_rate, new_rate, bound, old, new, worse)


def _sizes(service_class: str, figure: Figure, old: Figures, new: Figures, bound: float | None) -> Row | None:
    old_requests, new_requests = old.whole(figure).total(), new.whole(figure).total()
    if not old_requests and not new_requests:
        return None
    worse = bound is not None and (
        _is_larger(figure, old, new, bound) or (figure is Figure.LENGTH and _is_larger(figure, new, old, bound))
    )
    return Row(service_class, figure, old.median(figure), new.median(figure), bound, old_requests, new_requests, worse)


def _is_larger(figure: Figure, old: Figures, new: Figures, bound: float) -> bool:
    """Whether the values of `new` are larger by more than `bound`, in each slice."""
    shift = math.ceil(math.log1p(bound) / STEP - 1e-9)
    return all(_is_larger_in(slice_, figure, old, new, shift) for slice_ in range(SLICES))


def _is_larger_in(slice_: int, figure: Figure, old: Figures, new: Figures, shift: int) -> bool:
    cells = old.histograms.get(figure, {}).keys() & new.histograms.get(figure, {}).keys()
    strata = [
        (old.histograms[figure][cell], new.histograms[figure][cell]) for cell in sorted(cells) if cell[0] == slice_
    ]
    if min((sum(side.total() for side in sides) for sides in zip(*strata, strict=True)), default=0) < FEWEST_IN_SLICE:
        return False
    return log_e_of_ranks(strata, shift) >= -math.log(FALSE_TIMES)
