"""The order of pretraining data: which sequence is learnt at which position, as a pure function of seed and position.

Nothing is drawn one after the other. So a run that is resumed, or that runs with another number of processes, sees the
same sequences at the same positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from trainer.data.permutation import Permutation

_WHOLE = 1 << 40
"""Weights are rounded to so many parts of all."""
_KEPT_ORDERS = 256
"""Orders of sources in memory: each takes some hundred bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a mixture. weight: beside those of the others; sequences: how many it has to learn from."""

    name: str
    weight: float
    sequences: int


@dataclass(frozen=True, slots=True)
class Place:
    """A sequence. source: place of its source in the mixture; sequence: its number there; epoch: passes before it."""

    source: int
    sequence: int
    epoch: int


class Mixture:
    """Sources, mixed by weight.

    Positions are dealt out to the sources by their weights, as evenly as can be. Each source is gone through in an
    order of its own, another one in each pass; no sequence comes again before all others of its source have come.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        """Each source has a weight above 0, and a sequence at least."""
        self._sources = tuple(sources)
        total = sum(source.weight for source in sources)
        self._parts = [max(1, round(source.weight / total * _WHOLE)) for source in sources]
        self._order = lru_cache(_KEPT_ORDERS)(
            lambda source, epoch: Permutation(
                self._sources[source].sequences, f"{seed}/{self._sources[source].name}/{epoch}"
            )
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of all positions that goes to each source."""
        return tuple(part / sum(self._parts) for part in self._parts)

    def at(self, position: int) -> Place:
        """What is learnt at a position, from 0 on: position p of step s is s * (sequences of a step) + p."""
        source, draw = self._dealt(position)
        epoch, number = divmod(draw, self._sources[source].sequences)
        return Place(source, self._order(source, epoch)(number), epoch)

    def _dealt(self, position: int) -> tuple[int, int]:
        """The source that a position goes to, and how many positions before went there.

        The first source takes its part of all positions, the second its part of the others, and so on.
        """
        rest = sum(self._parts)
        for source, part in enumerate(self._parts[:-1]):
            before, after = position * part // rest, (position + 1) * part // rest
            if after > before:
                return source, before
            position -= before
            rest -= part
        return len(self._parts) - 1, position


def positions(step: int, *, batch: int, accumulation: int, rank: int, ranks: int) -> list[range]:
    """The positions that a process computes in a step, one range for each of its batches.

    All processes together have step * G to (step + 1) * G, where G = batch * accumulation * ranks. It is the way in
    which accelerate deals out batches.

    Args:
        step: From 0 on.
        batch: Sequences that a process computes together.
        accumulation: Batches of a process in a step.
        rank: Number of the process, from 0 on.
        ranks: How many processes there are.
    """
    first = (step * accumulation * ranks + rank) * batch
    return [range(at, at + batch) for at in range(first, first + accumulation * ranks * batch, ranks * batch)]
