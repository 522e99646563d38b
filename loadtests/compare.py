"""Compares two runs: each figure of both, and their ratio."""

from collections.abc import Iterator

from loadtests.figures import Figures
from loadtests.report import Report
from loadtests.tables import LATENCIES, NAMES, number, parts

COLUMNS = ("tier", "measure", "A", "B", "B / A")
QUANTILES = ("p50", "p99")


def rows(a: Report, b: Report) -> Iterator[tuple[str, ...]]:
    """Rows of the table. A measure that only one run has is left out."""
    of_b = parts(b)
    for tier, figures in parts(a).items():
        if tier in of_b:
            theirs = _measures(of_b[tier])
            for measure, value in _measures(figures).items():
                if measure in theirs:
                    yield (tier, measure, number(value), number(theirs[measure]), ratio(value, theirs[measure]))


def differences(a: Report, b: Report) -> list[str]:
    """What differs between the two runs besides the server. Such differences can explain the ratios."""
    ours, theirs = a.profile.model_dump(), b.profile.model_dump()
    changed = [f"profile.{key}: {ours[key]} | {theirs[key]}" for key in ours if ours[key] != theirs[key]]
    early = [f"{name} was stopped early" for name, run in (("A", a), ("B", b)) if run.stopped_early]
    return changed + early + ([f"model: {a.model} | {b.model}"] if a.model != b.model else [])


def ratio(a: float, b: float) -> str:
    """The quotient b / a in words; `-` when a is 0."""
    return f"{b / a:.2f}x" if a else "-"


def _measures(figures: Figures) -> dict[str, float]:
    found = {
        "goodput share": figures.goodput.share,
        "goodput / s": figures.goodput.per_s,
        "answered / s": figures.requests_per_s,
        "output tok/s": figures.output_tokens_per_s,
        "not answered": float(sum(figures.errors.values())),
    }
    for measure in LATENCIES:
        if spread := getattr(figures, measure):
            found |= {f"{NAMES[measure]} {q}": getattr(spread, q) for q in QUANTILES}
    return found
