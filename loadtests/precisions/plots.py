"""The study's picture: a bar for each model that was measured."""

from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.plots import COLOURS, PRINTED, png
from loadtests.precisions.study import Measured, Study

_MIB = 1 << 20


def plot(study: Study) -> bytes:
    """The picture as PNG. The same study gives the same bytes."""
    with mpl.rc_context(PRINTED):
        figure = Figure(figsize=(9.2, 1.4 + 0.42 * len(study.rows)), layout="constrained")
        tokens, ttft, memory, loss = figure.subplots(1, 4, sharey=True)
        _bars(tokens, study, "Tokens / s", lambda found: found.total.output_tokens_per_s)
        _bars(ttft, study, "TTFT p50, ms", lambda found: found.total.ttft_ms.p50 if found.total.ttft_ms else 0.0)
        _bars(memory, study, "Peak memory, MiB", lambda found: found.peak_bytes / _MIB)
        _losses(loss, study)
        tokens.set_yticks(range(len(study.rows)), [row.name for row in study.rows])
        tokens.set_ylim(len(study.rows) - 0.5, -0.5)
        return png(figure)


def _bars(axes: Axes, study: Study, title: str, value: Callable[[Measured], float]) -> None:
    axes.set_title(title)
    for place, row in enumerate(study.rows):
        if row.measured:
            axes.barh(place, value(row.measured), height=0.6, color=COLOURS["default"])
        else:
            axes.text(0.02, place, "does not run", va="center", transform=axes.get_yaxis_transform())


def _losses(axes: Axes, study: Study) -> None:
    """Points and no bars: losses differ little, so the axis does not begin at 0."""
    axes.set_title("Held-out loss, nats")
    for place, row in enumerate(study.rows):
        if row.measured:
            axes.plot(row.measured.held_out_loss, place, "o", color=COLOURS["priority"], markersize=9)
    axes.margins(x=0.2)
