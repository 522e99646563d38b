"""The progress of a weight update, as the router and operators see it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Outcome = Literal["unchanged", "committed", "refused", "restart", "restored", "lost"]
"""How a weight update ended, for metrics.

refused: nothing has changed. restart: nothing has changed, and the worker must start on the version. restored: the old
weights are back. lost: the engine is gone, and the worker ends.
"""


class Phase(IntEnum):
    """Phases of a weight update; the numbers are those of DeliveryPhase in the router's protocol."""

    STAGING = 1
    HOLDING = 2
    SWAPPING = 3
    PROVING = 4
    RESTORING = 5
    COMMITTED = 6
    FAILED = 7
    NEEDS_RESTART = 8

    @property
    def is_last(self) -> bool:
        """Whether the weight update has ended."""
        return self in (Phase.COMMITTED, Phase.FAILED, Phase.NEEDS_RESTART)


@dataclass(frozen=True, slots=True)
class Report:
    """The progress of one weight update; `reason` says why it failed or needs a restart."""

    update_id: str
    version: str
    phase: Phase
    reason: str = ""
