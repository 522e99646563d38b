"""What a gate says of a new version."""

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """Whether a rollout may go on."""

    WAIT = "wait"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and why, for operators."""

    decision: Decision
    reason: str
