"""When a request that a worker did not finish goes to another worker."""

from dataclasses import dataclass, field
from enum import Enum, auto

from services.gateway.generation.progress import Progress
from services.shared.errors import EngineFailed, Overloaded, TidegateError

# Failures in a row that brought no token.
MAX_FAILURES = 3
MAX_HANDOVERS = 100
MAX_LOST_BEFORE_START = 10
# Before a worker that could not be connected to is tried again. The first pause doubles with each.
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 2.0


class FailureCause(Enum):
    """Why an attempt ended before its answer was complete. The request itself is never the known cause."""

    ENGINE_DIED = auto()
    """The engine went down with the request in it."""
    LOST_BEFORE_START = auto()
    """The worker's lease ran out, and it never said that the request had begun: it may not have reached the engine."""
    UNREACHABLE = auto()
    """The worker could not be connected to, such as while its name is not found: it never had the request."""
    HANDED_OVER = auto()
    """The worker is draining, or serves another version by now."""
    PREEMPTED = auto()
    """The worker is well, and the router needs its slot for a higher class."""
    RECOMPUTE = auto()
    """The worker changes its weights, and the answer may go on with any version."""
    HAND_OVER = auto()
    """The worker changes its weights, and the answer goes on with its version where another worker has a slot."""
    OTHER = auto()
    """Anything else, such as a worker that was overloaded or whose connection broke before the request began."""


_CROSSINGS = (FailureCause.RECOMPUTE, FailureCause.HAND_OVER)
_GIVEN_AWAY = (FailureCause.HANDED_OVER, FailureCause.PREEMPTED, *_CROSSINGS)
# The worker may have the request again: it has done nothing wrong, and its new weights may go on with the answer.
_BLAMELESS = (FailureCause.PREEMPTED, *_CROSSINGS)


class VersionRule(Enum):
    """Which versions of the model may go on with an answer that has begun."""

    SAME = auto()
    PREFERRED = auto()
    """The same, and any while no worker of it has a slot."""
    ANY = auto()


_VERSION_RULES = {FailureCause.RECOMPUTE: VersionRule.ANY, FailureCause.HAND_OVER: VersionRule.PREFERRED}


class WorkerFailed(Exception):
    """An attempt failed because of its worker. Another worker may do better.

    Args:
        reason: a word for logs and metrics.
        gained: the attempt brought tokens.
    """

    def __init__(self, reason: str, cause: FailureCause, *, worker_id: str, gained: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.cause = reason, cause
        self.worker_id, self.gained = worker_id, gained


@dataclass(slots=True)
class Retries:
    """What the earlier attempts of one request mean for the next one.

    An attempt that brought tokens clears all earlier blame: a request that kills engines kills them wherever its answer
    stands, and brings no token.

    Args:
        attempt: number of the current attempt, from 1.
        excluded: ids of workers that the next attempt must not go to.
        engine_deaths: in a row. The router refuses a request that seems to kill engines.
        version_rule: for the next attempt. An answer that a worker gave back to change its weights may cross versions
            from then on; it prefers the version of its last tokens.
        pause_s: seconds until the next attempt. The router grants a worker that failed again where there is no other.
    """

    attempt: int = 1
    failures: int = 0
    handovers: int = 0
    lost_before_start: int = 0
    excluded: list[str] = field(default_factory=list)
    engine_deaths: int = 0
    version_rule: VersionRule = VersionRule.SAME
    pause_s: float = 0.0

    def after(self, failure: WorkerFailed, progress: Progress) -> None:
        """Moves on to the next attempt.

        Raises:
            EngineFailed: the answer has begun and cannot be continued exactly, or its engines keep failing.
            Overloaded: too many workers could not take the request.
        """
        if progress.begun and not progress.resumable:
            raise EngineFailed(
                "The worker was lost while it was answering, and with these parameters no other can continue exactly. "
                "Please try again.",
                retry_after_s=1.0,
            )
        if failure.gained:
            self.failures, self.lost_before_start, self.engine_deaths, self.excluded = 0, 0, 0, []
            # The version that went on with an answer may leave the pool in the same rollout.
            self.version_rule = VersionRule.SAME if self.version_rule is VersionRule.SAME else VersionRule.PREFERRED
        self.version_rule = _VERSION_RULES.get(failure.cause, self.version_rule)
        self._count(failure.cause)
        if (
            self.failures >= MAX_FAILURES
            or self.lost_before_start >= MAX_LOST_BEFORE_START
            or self.handovers >= MAX_HANDOVERS
        ):
            raise self._given_up(failure)
        self.attempt += 1
        again = failure.cause is FailureCause.UNREACHABLE and failure.worker_id in self.excluded
        self.pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.lost_before_start - 2)) if again else 0.0
        if failure.cause not in _BLAMELESS and failure.worker_id not in self.excluded:
            self.excluded.append(failure.worker_id)

    def _count(self, cause: FailureCause) -> None:
        if cause in _GIVEN_AWAY:
            self.handovers += 1
        elif cause in (FailureCause.LOST_BEFORE_START, FailureCause.UNREACHABLE):
            self.lost_before_start += 1
        else:
            self.failures += 1
        self.engine_deaths += cause is FailureCause.ENGINE_DIED

    def _given_up(self, failure: WorkerFailed) -> TidegateError:
        if failure.cause is FailureCause.ENGINE_DIED or failure.reason == "engine":
            return EngineFailed(f"The request failed on {self.attempt} workers. Please try again.", retry_after_s=1.0)
        return Overloaded(f"{self.attempt} workers could not take the request. Please try again.", retry_after_s=1.0)
