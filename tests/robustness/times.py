"""Many durations, told in few figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds, sorted."""

    all_s: list[float]

    @classmethod
    def of(cls, all_s: Iterable[float]) -> Self:
        return cls(sorted(all_s))

    def at(self, part: float) -> float:
        """Longer than so many of them."""
        return self.all_s[int(part * (len(self.all_s) - 1))] if self.all_s else 0.0

    def __str__(self) -> str:
        return f"p50 {self.at(0.5):.2f} s, p99 {self.at(0.99):.2f} s, max {self.at(1):.2f} s of {len(self.all_s)}"
