"""What a method makes of a run's data."""

from dataclasses import dataclass
from typing import Any

import datasets

from trainer.examples import Rendered
from trainer.record import Counts


@dataclass(frozen=True, slots=True)
class Material:
    """Data to learn and to measure with, as the method's library takes it."""

    learnt: datasets.Dataset
    held_out: datasets.Dataset
    counts: Counts


def counts_of(learnt: Rendered[Any], held_out: Rendered[Any]) -> Counts:
    """What became of a run's data, for its record."""
    return Counts(
        learnt=len(learnt.kept),
        held_out=len(held_out.kept),
        cut=learnt.cut + held_out.cut,
        dropped=learnt.dropped + held_out.dropped,
    )
