"""The loss curve of a run: metrics.jsonl, a line a step, and its plot."""

import json
import math
from pathlib import Path
from typing import Any

HELD_OUT = "held_out_loss"
"""Key of lines that a measurement made; those of steps have `loss`."""


class Diverged(Exception):
    """A loss is no finite number; trying again would end the same way."""


def finite(loss: float, what: str) -> float:
    """Raises Diverged."""
    if not math.isfinite(loss):
        raise Diverged(f"{what} is {loss}: a smaller learning_rate may help")
    return loss


class Curve:
    """Appends to `file`. `resumed_at`: steps after it are forgotten, since they are about to be made again."""

    def __init__(self, file: Path, resumed_at: int) -> None:
        self._file = file
        kept = [line for line in read(file) if line["step"] <= resumed_at]
        draft = file.with_name(f"{file.name}.new")
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept))
        draft.replace(file)

    def add(self, line: dict[str, Any]) -> None:
        """Raises Diverged."""
        finite(line["loss"], f"the loss of step {line['step']}")
        self._append(line)

    def measured(self, step: int, loss: float) -> None:
        """Adds a loss on held-out data, measured after a step. Raises Diverged."""
        self._append({"step": step, HELD_OUT: finite(loss, f"the loss on held-out data after step {step}")})

    def _append(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as out:
            out.write(json.dumps(line) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """A last line that a kill cut short is left out."""
    if not file.exists():
        return []
    whole = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def plot(curve: list[dict[str, Any]], held_out: tuple[float, float], file: Path) -> None:
    """Loss by step as PNG, with the held-out loss before and after."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    trained = [(line["step"], line["loss"]) for line in curve if "loss" in line]
    measured = [(line["step"], line[HELD_OUT]) for line in curve if HELD_OUT in line]
    last = trained[-1][0] if trained else 0
    axes.plot(*_columns(trained), label="training")
    axes.plot(*_columns([(0, held_out[0]), *measured, (last, held_out[1])]), "o--", label="held out")
    axes.set(xlabel="step", ylabel="loss (nats a token)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [loss for _, loss in points]
