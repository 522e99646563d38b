"""What a method makes of a run's data."""

from dataclasses import dataclass

import datasets

from trainer.record import Counts


@dataclass(frozen=True, slots=True)
class Material:
    """Data to learn and to measure with, as the method's library takes it."""

    learnt: datasets.Dataset
    held_out: datasets.Dataset
    counts: Counts
