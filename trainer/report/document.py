"""The report of a run as a document: what went in, how it learnt, what it reached, and what was decided.

The same run makes the same report, since its digest is part of the version: no times, and no paths of this machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.shared.manifests import Manifest
from trainer.evaluation.decision import Way
from trainer.evaluation.figures import Figures
from trainer.loss_curve import HELD_OUT
from trainer.order import Outcome
from trainer.recipe import Recipe
from trainer.record import settings

SCHEMA_VERSION = 1
MAX_POINTS = 2000
"""Points of a curve; a longer one is thinned out evenly."""
_KEPT = ("step", "loss", "learning_rate", "grad_norm", HELD_OUT)

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report is made of. source: where the result comes from. way and reasons: what was decided."""

    recipe: Recipe
    source: str
    base: Manifest | None
    outcome: Outcome
    curve: Sequence[dict[str, Any]]
    way: Way
    reasons: tuple[str, ...]


def document(facts: Facts) -> Document:
    """The report as JSON can hold it."""
    recipe, outcome, evaluated = facts.recipe, facts.outcome, facts.outcome.evaluated
    return {
        "schema_version": SCHEMA_VERSION,
        "name": recipe.publish.name if recipe.publish else None,
        "method": recipe.method,
        "source": facts.source,
        "base": f"{facts.base.model}@{facts.base.version}" if facts.base else None,
        "decision": {"way": facts.way, "reasons": list(facts.reasons)},
        "held_out_loss": {"before": outcome.held_out_before, "after": outcome.held_out_after},
        "figures": dict(outcome.figures),
        "evaluation": {
            "result": _figures(evaluated.result),
            "base": _figures(evaluated.parent),
            "live": _figures(evaluated.live),
            "live_version": evaluated.live_version,
        }
        if evaluated
        else None,
        "examples": outcome.counts.model_dump(),
        "data": outcome.report.document() if outcome.report else None,
        "curve": thinned([{key: line[key] for key in _KEPT if key in line} for line in facts.curve]),
        "recipe": settings(recipe),
    }


def thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most MAX_POINTS of the lines, the last one among them, and every measurement on held-out data."""
    if len(lines) <= MAX_POINTS:
        return lines
    every = -(-len(lines) // MAX_POINTS)
    return [line for n, line in enumerate(lines) if HELD_OUT in line or n % every == 0 or n == len(lines) - 1]


def _figures(figures: Figures | None) -> Document | None:
    return None if figures is None else {name: figure.model_dump() for name, figure in figures.items()}
