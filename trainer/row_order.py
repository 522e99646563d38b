"""In which order a run learns rows: a pure function of the seed and of how many rows came before. Pure.

All passes over the data are one endless sequence: each pass is a permutation of its own. So every batch has the same
size, also at the end of a pass, and so every number of processes that divides a batch learns the same rows in a step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from trainer.data.permutation import Permutation


@dataclass(frozen=True, slots=True)
class RowOrder:
    """The rows that a run learns, step by step.

    Attributes:
        rows: How many there are.
        seed: Of the run.
        a_step: Rows of a step: those of all its batches, on all processes.
        skipped: Places in the sequence, counted in steps, that are left out.
        in_order: The rows are an endless sequence already.
    """

    rows: int
    seed: int
    a_step: int
    skipped: frozenset[int] = frozenset()
    in_order: bool = False

    def steps(self, epochs: float) -> int:
        """As few steps as learn every row `epochs` times at least."""
        return ceil(epochs * self.rows / self.a_step)

    def place(self, step: int) -> int:
        """The place in the sequence that a step learns from.

        Args:
            step: From 1.
        """
        place = step - 1
        for skipped in sorted(self.skipped):
            place += skipped <= place
        return place

    def first(self, steps: int) -> Iterator[int]:
        """The rows of the first `steps` steps."""
        of_pass, permutation = -1, self._permutation(0)
        for step in range(1, steps + 1):
            place = self.place(step)
            for number in range(place * self.a_step, (place + 1) * self.a_step):
                if self.in_order:
                    yield number
                    continue
                if number // self.rows != of_pass:
                    of_pass = number // self.rows
                    permutation = self._permutation(of_pass)
                yield permutation(number % self.rows)

    def _permutation(self, of_pass: int) -> Permutation:
        return Permutation(self.rows, f"{self.seed}/{of_pass}")
