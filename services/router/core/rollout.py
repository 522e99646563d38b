"""A rollout brings a pool to another model version, one worker at a time.

    rolling -> done                       every worker serves the version
    rolling -> undoing -> failed          one worker could not: those that had changed go back

A worker changes in place, or is replaced where it cannot: it drains and ends, and its next process starts on the goal.

The record says whose turn it is. Any replica may carry a rollout on: `advance` derives the next record from the record
and the workers, `order` says what to send to which worker, and both may be repeated without harm. The goal of a rollout
that has ended stays: a worker that attaches with another version is asked to change too, once in the life of its
process.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

MAX_REASON = 2_000


class State(StrEnum):
    """Where a rollout is."""

    ROLLING = "rolling"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether the rollout is done or failed."""
        return self in (State.DONE, State.FAILED)


class Outcome(StrEnum):
    """How a worker's weight update went."""

    UNDER_WAY = "under way"
    NEEDS_RESTART = "needs restart"
    COMMITTED = "committed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One worker of the pool. The last three fields are about the last weight update that its process was asked for."""

    worker_id: str
    epoch: int
    state: str
    version: str
    delivery_id: str = ""
    outcome: Outcome | None = None
    reason: str = ""

    @property
    def process(self) -> str:
        """Names the worker's process: it changes when the worker is started again."""
        return f"{self.worker_id}/{self.epoch}"


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """The state of a rollout. Times are in milliseconds.

    Attributes:
        previous: The version that the pool served before, or "".
        turn: The process whose turn it is, or "".
        replaced: The process that ends in this turn, so that the worker starts on the goal; or "". Once the worker is
            back, the turn is that of its new process.
        absent_since_ms: When that process was first missing among the pool's workers, or 0.
        stranded: Processes that could not be brought to the goal. They are left as they are.
        revision: Grows with every change.
    """

    rollout_id: str
    target: str
    previous: str
    started_ms: int
    finish_timeout_ms: int = 0
    state: State = State.ROLLING
    reason: str = ""
    turn: str = ""
    turn_began_ms: int = 0
    absent_since_ms: int = 0
    stranded: tuple[str, ...] = ()
    ended_ms: int = 0
    revision: int = 1
    replaced: str = ""

    @property
    def goal(self) -> str:
        """The version that workers are brought to now; "" when there is no known version to go back to."""
        return self.target if self.state in (State.ROLLING, State.DONE) else self.previous

    @property
    def delivery_id(self) -> str:
        """Names the weight update that workers are asked for now."""
        return f"{self.rollout_id}-{'forth' if self.goal == self.target else 'back'}"

    def to_hash(self) -> dict[str, str]:
        """The record as fields of a Redis hash."""
        return {name: " ".join(v) if isinstance(v, tuple) else str(v) for name, v in asdict(self).items()}

    @classmethod
    def of_hash(cls, stored: dict[str, str]) -> "RolloutRecord":
        """Reads the fields of a Redis hash. A replica of an earlier release leaves out those that it does not know."""
        values: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        numbers = ("started_ms", "finish_timeout_ms", "turn_began_ms", "absent_since_ms", "ended_ms", "revision")
        values.update({name: int(stored[name]) for name in numbers})
        values.update(state=State(stored["state"]), stranded=tuple(stored["stranded"].split()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a turn.

    Attributes:
        turn_ms: For one worker to change. If it is replaced: for it to end and come back, and again to be ready.
        absence_ms: For it to come back if its lease lapsed while it changes.
    """

    turn_ms: int
    absence_ms: int


@dataclass(frozen=True, slots=True)
class Order:
    """A worker is asked to change to a version."""

    worker_id: str
    delivery_id: str
    version: str
    finish_timeout_ms: int


@dataclass(frozen=True, slots=True)
class Ending:
    """A worker is asked to drain and end. Whoever started it starts it again."""

    worker_id: str
    finish_timeout_ms: int


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is to start on.

    Attributes:
        version: The version; "" for what the pool's configuration names.
        delivery_id: The weight update that this start is part of, which the worker reports; or "".
    """

    version: str = ""
    delivery_id: str = ""


def begin(
    rollout_id: str,
    target: str,
    members: Sequence[Member],
    before: RolloutRecord | None,
    *,
    now_ms: int,
    finish_ms: int,
) -> RolloutRecord:
    """Starts a rollout.

    Args:
        rollout_id: Its id.
        target: The version that workers are brought to.
        members: The pool's workers.
        before: The record of the last rollout. If this one fails, workers go back to the goal of the last one; without
            a last one, to the version that most workers have.
        now_ms: The time.
        finish_ms: Time for a worker's running requests to end before it changes.
    """
    versions = [member.version for member in members if member.version]
    common = max(sorted(set(versions)), key=versions.count, default="")
    previous = (before.goal if before else "") or common
    revision = before.revision + 1 if before else 1
    return RolloutRecord(rollout_id, target, previous, now_ms, finish_timeout_ms=finish_ms, revision=revision)


def advance(record: RolloutRecord, members: Sequence[Member], *, now_ms: int, timeouts: Timeouts) -> RolloutRecord:
    """Returns the next record, or the same one when there is nothing to do but wait."""
    advanced = _end_turn(record, members, now_ms, timeouts) if record.turn else _next_turn(record, members, now_ms)
    return record if advanced == record else replace(advanced, revision=record.revision + 1)


def order(record: RolloutRecord, members: Sequence[Member]) -> Order | Ending | None:
    """What to send to the worker whose turn it is; None when it has heard of it already."""
    member = next((member for member in members if member.process == record.turn), None)
    if member is None:
        return None
    if record.replaced == record.turn:
        ending = Ending(member.worker_id, record.finish_timeout_ms)
        return ending if member.state != "draining" else None
    if record.replaced or member.delivery_id == record.delivery_id:
        return None
    return Order(member.worker_id, record.delivery_id, record.goal, record.finish_timeout_ms)


def start_of(record: RolloutRecord | None, worker_id: str, epoch: int) -> Start:
    """What a process is to start on. During a rollout that is the former version, until the worker has its turn.

    Args:
        record: The record of the pool's last rollout; None if there was none.
        worker_id: The worker.
        epoch: The epoch of its new process.
    """
    if record is None:
        return Start()
    process = f"{worker_id}/{epoch}"
    if (
        record.replaced != process
        and record.turn in (record.replaced, process)
        and _worker(record.replaced) == worker_id
    ):
        return Start(record.goal, record.delivery_id)
    return Start(record.previous if record.state is State.ROLLING else record.goal)


def stop(record: RolloutRecord, reason: str, now_ms: int) -> RolloutRecord:
    """Gives a running rollout up. `reason` is what operators are told."""
    return replace(_undo(record, reason, now_ms), revision=record.revision + 1)


def _next_turn(record: RolloutRecord, members: Sequence[Member], now_ms: int) -> RolloutRecord:
    """A worker that is changing already goes first: only one worker changes at a time, and each has a time limit."""
    changing = [member for member in members if _is_changing(record, member)]
    ready = [member for member in members if member.state == "ready" and _needs_goal(record, member)]
    if advanced := min(changing or ready, key=lambda member: member.worker_id, default=None):
        return replace(record, turn=advanced.process, turn_began_ms=now_ms)
    # A worker whose stream broke comes back, or its lease ends soon.
    if record.state.has_ended or any(member.state == "detached" and _needs_goal(record, member) for member in members):
        return record
    state = State.DONE if record.state is State.ROLLING else State.FAILED
    return replace(record, state=state, ended_ms=now_ms)


def _is_changing(record: RolloutRecord, member: Member) -> bool:
    under_way = member.outcome is Outcome.UNDER_WAY and member.state != "draining"
    return under_way and bool(record.goal) and member.process not in record.stranded


def _needs_goal(record: RolloutRecord, member: Member) -> bool:
    return bool(record.goal) and member.version != record.goal and member.process not in record.stranded


def _end_turn(record: RolloutRecord, members: Sequence[Member], now_ms: int, timeouts: Timeouts) -> RolloutRecord:
    if record.turn == record.replaced:
        return _end_process(record, members, now_ms, timeouts)
    member = next((member for member in members if member.process == record.turn), None)
    if member is None:
        return _absence(record, members, now_ms, timeouts)
    outcome = member.outcome if member.delivery_id == record.delivery_id else None
    if outcome is Outcome.FAILED:
        return _turn_failed(record, members, f"{member.worker_id}: {member.reason}", now_ms)
    if outcome is Outcome.NEEDS_RESTART and member.state == "ready":
        return replace(record, replaced=record.turn, turn_began_ms=now_ms, absent_since_ms=0)
    if outcome is Outcome.COMMITTED or member.state == "draining":
        return _without_turn(record)
    if now_ms - record.turn_began_ms >= timeouts.turn_ms:
        reason = f"{member.worker_id} did not change within {timeouts.turn_ms / 1000:g} s"
        return _turn_failed(record, members, reason, now_ms)
    return replace(record, absent_since_ms=0)


def _end_process(record: RolloutRecord, members: Sequence[Member], now_ms: int, timeouts: Timeouts) -> RolloutRecord:
    """Waits until the worker has ended and its next process is there, which takes over the turn."""
    worker_id = _worker(record.turn)
    for member in members:
        if member.worker_id == worker_id and member.process != record.turn:
            return replace(record, turn=member.process, turn_began_ms=now_ms)
    if now_ms - record.turn_began_ms < timeouts.turn_ms:
        return record
    reason = f"{worker_id} was not started again within {timeouts.turn_ms / 1000:g} s"
    return _turn_failed(record, members, reason, now_ms)


def _absence(record: RolloutRecord, members: Sequence[Member], now_ms: int, timeouts: Timeouts) -> RolloutRecord:
    """A lease also lapses when routers or Redis were away for long. A worker that was started again is lost at once."""
    restarted = any(member.worker_id == _worker(record.turn) for member in members)
    if not restarted and not record.absent_since_ms:
        return replace(record, absent_since_ms=now_ms)
    if not restarted and now_ms - record.absent_since_ms < timeouts.absence_ms:
        return record
    doing = f"started on {record.goal}" if record.replaced else "changed its weights"
    return _turn_failed(record, members, f"{_worker(record.turn)} was lost while it {doing}", now_ms)


def _turn_failed(record: RolloutRecord, members: Sequence[Member], reason: str, now_ms: int) -> RolloutRecord:
    """Ends a rollout. On the way back, and when a late worker changes, the other workers go on without this one."""
    if record.state is State.ROLLING:
        return _undo(record, reason, now_ms)
    said = record.reason if record.state is State.DONE else f"{record.reason}; {reason}"[:MAX_REASON]
    present = {member.process for member in members}
    stranded = [process for process in (*record.stranded, record.turn) if process in present]
    return replace(_without_turn(record), reason=said, stranded=tuple(stranded))


def _undo(record: RolloutRecord, reason: str, now_ms: int) -> RolloutRecord:
    over = replace(_without_turn(record), reason=reason[:MAX_REASON])
    if not record.previous:
        return replace(over, state=State.FAILED, ended_ms=now_ms)
    return replace(over, state=State.UNDOING, stranded=())


def _without_turn(record: RolloutRecord) -> RolloutRecord:
    return replace(record, turn="", replaced="", absent_since_ms=0)


def _worker(process: str) -> str:
    return process.rpartition("/")[0]
