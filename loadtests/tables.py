"""Figures as rows of text, for the terminal and for the page."""

from collections.abc import Iterator
from typing import NamedTuple

from loadtests.figures import Figures, Spread
from loadtests.report import Report

COLUMNS = ("tier", "measure", "mean", "p50", "p90", "p95", "p99", "max")
LATENCIES = ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms", "lag_ms")
NAMES = {
    "ttft_ms": "TTFT ms",
    "tpot_ms": "TPOT ms",
    "itl_ms": "ITL ms",
    "e2e_ms": "end to end ms",
    "lag_ms": "sent late by ms",
}


def number(value: float) -> str:
    """A number with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def parts(report: Report) -> dict[str, Figures]:
    """The figures of all requests, then of each tier. A single tier is not repeated."""
    return {"all": report.total, **(report.tiers if len(report.tiers) > 1 else {})}


def latency_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """A row for each latency of each tier."""
    for tier, found in parts(report).items():
        for measure in LATENCIES:
            spread: Spread | None = getattr(found, measure)
            if spread:
                values = (spread.mean, spread.p50, spread.p90, spread.p95, spread.p99, spread.max)
                yield (tier, NAMES[measure], *map(number, values))


class Summary(NamedTuple):
    """A row of the summary."""

    tier: str
    due: str
    answered: str
    errors: str
    goodput: str
    goodput_per_s: str
    output_tokens_per_s: str
    prompt_tokens_per_s: str


SUMMARY = Summary("tier", "due", "answered", "not answered", "goodput", "goodput/s", "output tok/s", "prompt tok/s")


def summary_rows(report: Report) -> Iterator[Summary]:
    """A summary row for all requests and for each tier."""
    for tier, found in parts(report).items():
        yield Summary(
            tier,
            str(found.due),
            str(found.outcomes.get("ok", 0)),
            ", ".join(f"{count} {kind}" for kind, count in found.errors.items()) or "0",
            f"{found.goodput.share:.1%}",
            number(found.goodput.per_s),
            number(found.output_tokens_per_s),
            number(found.prompt_tokens_per_s),
        )
