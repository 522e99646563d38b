"""The study's pictures, as PNG."""

from collections.abc import Callable
from functools import partial

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.plots import PRINTED, png
from loadtests.simulator.loads import BALANCE
from loadtests.simulator.measures import Measures
from loadtests.simulator.study import Study
from loadtests.simulator.verdict import tenants_moved, ttft_p99

COLOURS = {
    "prefix": "#d9603b",
    "least_load": "#3d85d1",
    "round_robin": "#8e6bbf",
    "radix": "#2a9d78",
    "radix_ranked": "#c9a227",
    "oracle": "#7a7f87",
}


def plots(study: Study) -> dict[str, bytes]:
    """The pictures by name. The same study gives the same bytes."""
    with mpl.rc_context(PRINTED):
        return {
            "ttft": png(_ttft(study)),
            "goodput": png(_goodput(study)),
            "balance": png(_balance(study)),
            "flood": png(_flood(study)),
        }


def _ttft(study: Study) -> Figure:
    labels = list(study.scenario.classes)
    figure = Figure(figsize=(9.2, 3.2), layout="constrained")
    for axes, label in zip(figure.subplots(1, len(labels), sharey=True, squeeze=False)[0], labels, strict=True):
        _bars(study, axes, partial(ttft_p99, label=label))
        axes.set_yscale("log")
        axes.set_title(label)
        axes.axhline(ttft_p99(study.unloaded, label), color=PRINTED["text.color"], linewidth=1, linestyle=":")
    first = figure.axes[0]
    first.set_ylabel("TTFT p99, ms (dotted: unloaded)")
    _legend(figure, first)
    return figure


def _goodput(study: Study) -> Figure:
    figure = Figure(figsize=(9.2, 3.0), layout="constrained")
    axes, beside = figure.subplots(1, 2)
    _bars(study, axes, lambda measures: measures.good_per_s)
    axes.set_title("Goodput")
    axes.set_ylabel("requests/s that met their objectives")
    _bars(study, beside, lambda measures: 100 * measures.hit_rate)
    beside.set_title("Prefix hits")
    beside.set_ylabel("% of prompt tokens")
    _legend(figure, axes)
    return figure


def _balance(study: Study) -> Figure:
    figure = Figure(figsize=(9.2, 3.0), layout="constrained")
    axes, beside = figure.subplots(1, 2)
    _bars(study, axes, lambda measures: measures.balance.ratio_p99 or 0.0)
    axes.axhline(BALANCE, color=PRINTED["text.color"], linewidth=1, linestyle=":")
    axes.set_title("Fullest worker against the mean, p99")
    _bars(study, beside, lambda measures: measures.balance.longest_s)
    beside.set_title("Longest stretch of one worker above 1.25x")
    beside.set_ylabel("s")
    _legend(figure, axes)
    return figure


def _bars(study: Study, axes: Axes, value: Callable[[Measures], float]) -> None:
    """A group of bars for every load, a colour for every policy."""
    policies = list(next(iter(study.loads.values())))
    width = 0.8 / len(policies)
    for place, policy in enumerate(policies):
        left = [index - 0.4 + (place + 0.5) * width for index in range(len(study.loads))]
        heights = [value(by_policy[policy]) for by_policy in study.loads.values()]
        axes.bar(left, heights, width=0.9 * width, color=COLOURS[policy], label=policy)
    axes.set_xticks(range(len(study.loads)), [f"{load:g}x" for load in study.loads])


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _flood(study: Study) -> Figure:
    figure = Figure(figsize=(9.2, 2.9), layout="constrained")
    axes = figure.subplots()
    for at, policy in enumerate(study.calm):
        moved = tenants_moved(study, policy)
        axes.scatter([at] * len(moved), moved, color=COLOURS[policy], alpha=0.6, s=26, linewidths=0)
    axes.axhline(1.2, color=PRINTED["text.color"], linewidth=1, linestyle=":")
    axes.set_yscale("log")
    axes.set_xticks(range(len(study.calm)), list(study.calm))
    axes.set_title("One tenant floods: TTFT p99 of every other tenant's default requests, against no flood")
    axes.set_ylabel("times (dotted: goal)")
    return figure
