"""The gate before a rollout: the evaluation in a version's manifest beside that of the version it was trained from."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.shared.gates import EvaluationBound

FIGURE = "evaluation"
"""The figure's name in metrics, beside those of figures.py."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One value of an evaluation, and the same of the version that this one was trained from, if it is known."""

    value: float
    parent: float | None = None


def refusal(evaluation: Mapping[str, Evaluated], bounds: Mapping[str, EvaluationBound | None]) -> str | None:
    """Why a version may not be rolled out; None if it may.

    Args:
        evaluation: What its manifest has, by name.
        bounds: How much worse each value may be; None: it is not judged.
    """
    for name, bound in bounds.items():
        if bound is None:
            continue
        measured = evaluation.get(name)
        if measured is None or measured.parent is None:
            if bound.required:
                return f"the evaluation of the version has no {name} beside that of the version it was trained from"
            continue
        worse_by = measured.value - measured.parent if bound.better == "lower" else measured.parent - measured.value
        if worse_by > bound.worse_by * abs(measured.parent):
            return (
                f"{name} of the version is {measured.value:.4g}, and {measured.parent:.4g} of the version it was"
                f" trained from: worse by more than {bound.worse_by:.0%} (gates.evaluation.{name} of the pool)"
            )
    return None
