"""Samples to learn from, and samples that only measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from trainer.data.sample import Sample


@dataclass(frozen=True, slots=True)
class Split:
    """The two sides of a data set."""

    training: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


def split(samples: Sequence[Sample], held_out: float, random: Random) -> Split:
    """`held_out` is a share; at least one sample goes to each side."""
    order = list(samples)
    random.shuffle(order)
    count = min(max(1, round(len(order) * held_out)), len(order) - 1)
    return Split(training=tuple(order[count:]), held_out=tuple(order[:count]))
