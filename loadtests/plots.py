"""The plots of the report, as SVG. Text and axes have the text colour of the page, so they fit light and dark mode."""

import re
from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.report import Report
from loadtests.sample import Sample

INK = "#010203"
"""Placeholder for the page's text colour; replaced in the finished SVG."""

COLOURS = {"priority": "#d9603b", "default": "#3d85d1", "flex": "#2a9d78", "auto": "#8e6bbf"}
BAD, MISSED = "#c23b4b", "#d9a441"
POINTS_AS_VECTORS = 3000
"""More points than this are drawn as pixels, so that the page opens quickly."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.12,
    "axes.axisbelow": True,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


PRINTED: dict[Any, Any] = {key: "#22262b" if key.endswith("color") else value for key, value in STYLE.items()}
"""The style of pictures with a background of their own."""
DPI = 110


def png(figure: Figure) -> bytes:
    """The figure as PNG. The same figure gives the same bytes."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def plots(report: Report, samples: Sequence[Sample]) -> dict[str, str]:
    """The plots as SVG, by name."""
    with mpl.rc_context(STYLE):
        return {
            "latency": _svg("latency", _latency(report, samples)),
            "ttft": _svg("ttft", _cdf(report, samples, "ttft_s", "Time to first token")),
            "tpot": _svg("tpot", _cdf(report, samples, "tpot_s", "Time per output token")),
            "throughput": _svg("throughput", _throughput(report)),
            "in_flight": _svg("in_flight", _in_flight(report)),
            "goodput": _svg("goodput", _goodput(report)),
        }


def _svg(name: str, figure: Figure) -> str:
    # Element ids are hashes. A salt for each plot makes them unique on the page and equal in each run.
    with mpl.rc_context({"svg.hashsalt": name}):
        out = StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'role="img" aria-label="{name}"', drawn, count=1)


def _axes(title: str, x: str, y: str, *, wide: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.2, 2.9) if wide else (4.5, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _legend(axes: Axes, *, inside: bool = False) -> None:
    """Beside the title; in a CDF at the lower right, where no curve is."""
    if len(axes.get_legend_handles_labels()[1]) > 1:
        corner = (1.0, 0.0) if inside else (1.0, 1.0)
        columns = 1 if inside else 5
        axes.legend(loc="lower right", bbox_to_anchor=corner, ncols=columns, markerscale=2, handlelength=1.2)


def _latency(report: Report, samples: Sequence[Sample]) -> Figure:
    figure, axes = _axes("Latency over time", "due, s from the start", "end to end, ms")
    pixels = len(samples) > POINTS_AS_VECTORS
    for tier in report.tiers:
        answered = [sample for sample in samples if sample.ok and sample.tier == tier]
        took = [1000 * (sample.e2e_s or 0) for sample in answered]
        due = [sample.due_s for sample in answered]
        axes.scatter(due, took, s=9, color=COLOURS[tier], alpha=0.75, linewidths=0, label=tier, rasterized=pixels)
    lost = [sample.due_s for sample in samples if not sample.ok]
    if lost:
        at_top = axes.get_xaxis_transform()
        axes.scatter(
            lost, [0.98] * len(lost), s=14, marker="x", color=BAD, transform=at_top, label="not answered", linewidths=1
        )
    _from_zero(axes)
    _legend(axes)
    return figure


def _from_zero(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)


def _cdf(report: Report, samples: Sequence[Sample], measure: str, title: str) -> Figure:
    figure, axes = _axes(title, "ms", "share of requests", wide=False)
    for tier in report.tiers:
        taken = (getattr(sample, measure) for sample in samples if sample.ok and sample.tier == tier)
        values = [1000 * value for value in taken if value is not None]
        if values:
            axes.ecdf(values, color=COLOURS[tier], label=tier, linewidth=1.6)
    axes.set_ylim(0, 1.01)
    axes.set_xlim(left=0)
    _legend(axes, inside=True)
    return figure


def _throughput(report: Report) -> Figure:
    series = report.series
    figure, axes = _axes("Throughput over time", "s from the start", "streamed events / s", wide=False)
    axes.stairs(
        [count / series.interval_s for count in series.events],
        _edges(report),
        fill=True,
        color=COLOURS["default"],
        alpha=0.75,
    )
    _from_zero(axes)
    return figure


def _in_flight(report: Report) -> Figure:
    figure, axes = _axes("In flight over time", "s from the start", "most requests at once", wide=False)
    axes.stairs(report.series.in_flight, _edges(report), fill=True, color=COLOURS["flex"], alpha=0.75)
    _from_zero(axes)
    return figure


def _edges(report: Report) -> list[float]:
    series = report.series
    return [index * series.interval_s for index in range(len(series.due) + 1)]


def _goodput(report: Report) -> Figure:
    """For each tier: requests that met their objectives, were answered too late, or were not answered."""
    figure, axes = _axes("Goodput", "share of the requests that were due, %", "")
    figure.set_figheight(1.3 + 0.38 * len(report.tiers))
    for row, found in enumerate(report.tiers.values()):
        answered = found.outcomes.get("ok", 0)
        counts = (found.goodput.met, answered - found.goodput.met, found.due - answered)
        left = 0.0
        for count, colour in zip(counts, (COLOURS["flex"], MISSED, BAD), strict=True):
            share = 100 * count / max(found.due, 1)
            axes.barh(row, share, left=left, color=colour, height=0.6)
            left += share
        axes.text(1, row, f"{found.goodput.share:.1%}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(report.tiers)), list(report.tiers))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.grid(visible=False)
    for name, colour in (
        ("all objectives met", COLOURS["flex"]),
        ("answered, too late", MISSED),
        ("not answered", BAD),
    ):
        axes.bar(0, 0, color=colour, label=name)
    _legend(axes)
    return figure
