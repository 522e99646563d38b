"""Samples to learn from, and samples that only measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Split(Generic[Kept]):
    """The two sides of a data set."""

    training: tuple[Kept, ...]
    held_out: tuple[Kept, ...]


def split(samples: Sequence[Kept], held_out: float, random: Random) -> Split[Kept]:
    """`held_out` is a share; at least one sample goes to each side."""
    order = list(samples)
    random.shuffle(order)
    count = min(max(1, round(len(order) * held_out)), len(order) - 1)
    return Split(training=tuple(order[count:]), held_out=tuple(order[:count]))
