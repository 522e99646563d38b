"""How evenly the fleet is loaded: sequences of each worker, running or waiting, read at intervals."""

from dataclasses import dataclass, field

BALANCE = 1.25
WORTH_LOOKING = 4.0
"""Mean sequences below which one more or less is already a quarter."""


@dataclass
class Loads:
    """Collects the loads of all workers."""

    workers: int
    ratios: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    longest: int = 0
    """Looks in a row in which the same worker was above BALANCE times the mean."""
    _above: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._above = [0] * self.workers

    def look(self, sequences: list[int]) -> None:
        """Adds one reading: the sequences of each worker."""
        mean = sum(sequences) / len(sequences)
        self.means.append(mean)
        if mean < WORTH_LOOKING:
            self._above = [0] * self.workers
            return
        self.ratios.append(max(sequences) / mean)
        self._above = [n + 1 if load > BALANCE * mean else 0 for n, load in zip(self._above, sequences, strict=True)]
        self.longest = max(self.longest, *self._above)

    @property
    def share_above(self) -> float:
        """Share of the time in which some worker was above BALANCE times the mean."""
        return sum(ratio > BALANCE for ratio in self.ratios) / len(self.ratios) if self.ratios else 0.0
