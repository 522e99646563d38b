"""The progress of a version that is staged ahead of its rollout, as the router and operators see it."""

from dataclasses import dataclass
from enum import IntEnum


class StandbyPhase(IntEnum):
    """Phases of staging ahead; the numbers are those of StagingPhase in the router's protocol."""

    FETCHING = 1
    STAGED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class StandbyReport:
    """The progress.

    Attributes:
        stage_id: Names the order.
        version: SHA-256 of the manifest.
        phase: Where it is.
        staged_bytes: Bytes of the version that are on the disk.
        total_bytes: All of its bytes; 0: not known yet.
        reason: Why it failed.
    """

    stage_id: str
    version: str
    phase: StandbyPhase = StandbyPhase.FETCHING
    staged_bytes: int = 0
    total_bytes: int = 0
    reason: str = ""
