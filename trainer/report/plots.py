"""Plots of a report, as PNG."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from trainer.loss_curve import HELD_OUT

_PLOTS = (
    ("loss", "loss (nats a token)", (("loss", "training"), (HELD_OUT, "held out"))),
    ("learning rate", "learning rate", (("learning_rate", "learning rate"),)),
    ("gradient norm", "gradient norm, before clipping", (("grad_norm", "gradient norm"),)),
)


def plots(curve: Sequence[dict[str, Any]]) -> list[tuple[str, bytes]]:
    """A picture and its title for each figure that the curve has."""
    made = []
    for title, unit, lines in _PLOTS:
        columns = [(label, [(line["step"], line[key]) for line in curve if key in line]) for key, label in lines]
        if found := [(label, points) for label, points in columns if points]:
            made.append((title, _picture(unit, found)))
    return made


def _picture(unit: str, lines: Sequence[tuple[str, list[tuple[int, float]]]]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for label, points in lines:
        axes.plot(*zip(*points, strict=True), "o--" if label == "held out" else "-", label=label)
    axes.set(xlabel="step", ylabel=unit)
    axes.grid(alpha=0.3)
    axes.legend()
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
