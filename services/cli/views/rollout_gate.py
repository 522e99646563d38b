"""Shows the gate of a rollout: the old version against the new one."""

from rich.table import Table

from services.cli.clients.rollout_gate import Gate, GateFigure
from services.cli.views.output import build_table

_COLUMNS = ("class", "figure", "old", "new", "change", "bound", "requests old", "new", "")


def gate_table(gate: Gate) -> Table:
    """A row for each class and figure. The verdict stands in the table of the rollout (views/rollout.py)."""
    return build_table(_COLUMNS, map(_row, gate.figures))


def _row(figure: GateFigure) -> tuple[str, ...]:
    change, bound = figure.change, figure.bound
    return (
        figure.service_class,
        figure.figure,
        _value(figure, figure.old),
        _value(figure, figure.new),
        "-" if change is None else _difference(figure, change),
        "off" if bound is None else _difference(figure, bound),
        str(figure.old_requests),
        str(figure.new_requests),
        "worse" if figure.worse else "",
    )


def _value(figure: GateFigure, value: float | None) -> str:
    if value is None:
        return "-"
    if figure.is_rate:
        return f"{value:.2%}"
    if figure.figure == "length":
        return f"{value:.0f}"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _difference(figure: GateFigure, value: float) -> str:
    return f"{value:+.2%}" if figure.is_rate else f"{value:+.0%}"
