"""How a delivery stands, as router and operators are told."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Outcome = Literal["unchanged", "committed", "refused", "restored", "lost"]
"""How a delivery ended, for metrics. refused: before anything was touched. restored: the old weights were put back."""


class Phase(IntEnum):
    """Numbers are those of the router's DeliveryPhase."""

    STAGING = 1
    HOLDING = 2
    SWAPPING = 3
    PROVING = 4
    RESTORING = 5
    COMMITTED = 6
    FAILED = 7

    @property
    def is_last(self) -> bool:
        return self in (Phase.COMMITTED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Report:
    """reason: why it failed."""

    delivery_id: str
    version: str
    phase: Phase
    reason: str = ""
