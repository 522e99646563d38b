"""Many durations as a few percentiles."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Latencies:
    """all_s: in seconds, sorted."""

    all_s: list[float]

    @classmethod
    def of(cls, all_s: Iterable[float]) -> Self:
        """Sorts them."""
        return cls(sorted(all_s))

    def percentile(self, part: float) -> float:
        """The duration that `part` of all do not exceed: 0.99 for the 99th percentile. 0 where there are none."""
        return self.all_s[int(part * (len(self.all_s) - 1))] if self.all_s else 0.0

    def __str__(self) -> str:
        p50, p99, longest = (self.percentile(part) for part in (0.5, 0.99, 1))
        return f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {longest:.2f} s of {len(self.all_s)}"
