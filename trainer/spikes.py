"""Whether a step of a run is a spike: its loss or gradient is no number, or far above what came before. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from trainer.learning_recipe import Spikes

NAMES: Mapping[str, str] = {"loss": "the loss", "grad_norm": "the norm of the gradient"}
"""What is looked at, by its key in a line of the curve."""
LEAST_STEPS = 20
"""Steps before the one that is judged: fewer say nothing about what is usual."""
_SIGMA = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""
_LEAST_SHARE = 0.1
"""A spread is at least this share of the median: losses that hardly move do not make a usual step a spike."""
_LEAST: Mapping[str, float] = {"loss": 0.05, "grad_norm": 0.1}
"""And it is at least this: near zero, where a run ends that has learnt its data by heart, every share is small."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A step whose loss or gradient is far from usual. finite: it is a number, at least."""

    step: int
    reason: str
    finite: bool


class SpikeWatch:
    """Judges each step by those before it."""

    def __init__(self, settings: Spikes, before: Iterable[Mapping[str, Any]]) -> None:
        """`before`: lines of the curve up to where the run begins or goes on."""
        self._settings = settings
        self._before: deque[Mapping[str, Any]] = deque(
            (line for line in before if "loss" in line), maxlen=settings.window
        )

    def look(self, line: Mapping[str, Any]) -> Spike | None:
        """Judges a step, and remembers it unless it is a spike.

        Args:
            line: Of the curve.
        """
        for key, name in NAMES.items():
            if (value := line.get(key)) is None:
                continue
            before = [float(one[key]) for one in self._before if one.get(key) is not None]
            if reason := judge(float(value), before, self._settings.factor, _LEAST[key]):
                return Spike(line["step"], f"{name} is {reason}", math.isfinite(value))
        self._before.append(line)
        return None


def judge(value: float, before: Sequence[float], factor: float, least: float) -> str | None:
    """Says why a value is a spike, or None.

    Args:
        value: Of the step.
        before: The same of the steps before it.
        factor: Robust standard deviations above the median that are not usual any more.
        least: The spread is this at least.
    """
    if not math.isfinite(value):
        return str(value)
    usual = [one for one in before if math.isfinite(one)]
    if len(usual) < LEAST_STEPS:
        return None
    middle = median(usual)
    spread = max(_SIGMA * median(abs(one - middle) for one in usual), _LEAST_SHARE * abs(middle), least)
    bound = middle + factor * spread
    return f"{value:.4g}, above {bound:.4g}; {middle:.4g} is usual" if value > bound else None
