"""The loss curve of a run: metrics.jsonl, a line a step, and its plot."""

import json
import math
from pathlib import Path
from typing import Any


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
    steps = [line["step"] for line in curve]
    axes.plot(steps, [line["loss"] for line in curve], label="training")
    axes.plot([0, steps[-1] if steps else 0], held_out, "o--", label="held out, before and after")
    axes.set(xlabel="step", ylabel="loss (nats a token)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file)
