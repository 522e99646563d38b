"""The turn of one worker: how it ends, and what becomes of the rollout then."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.router.core.rollout_record import MAX_REASON, Member, Outcome, RolloutRecord, State, Turn


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a turn.

    Attributes:
        turn_ms: For one worker to change. If it is replaced: for it to end and come back, and again to be ready.
        absence_ms: For it to come back if its lease lapsed while it changes.
    """

    turn_ms: int
    absence_ms: int


def follow_turn(
    record: RolloutRecord, turn: Turn, members: Sequence[Member], *, now_ms: int, timeouts: Timeouts
) -> RolloutRecord:
    """Returns the record after what the worker of a turn has come to; the same one while it is at it."""
    if turn.process == turn.replaced:
        return _end_process(record, turn, members, now_ms, timeouts)
    member = next((member for member in members if member.process == turn.process), None)
    if member is None:
        return _absence(record, turn, members, now_ms, timeouts)
    outcome = member.outcome if member.delivery_id == record.delivery_id else None
    if outcome is Outcome.FAILED:
        return _turn_failed(record, turn, members, f"{member.worker_id}: {member.reason}", now_ms)
    if outcome is Outcome.NEEDS_RESTART and member.state == "ready":
        return record.with_turn(turn, Turn(turn.process, now_ms, replaced=turn.process))
    if outcome is Outcome.COMMITTED or member.state == "draining":
        return record.with_turn(turn, None)
    if now_ms - turn.began_ms >= timeouts.turn_ms:
        reason = f"{member.worker_id} did not change within {timeouts.turn_ms / 1000:g} s"
        return _turn_failed(record, turn, members, reason, now_ms)
    return record.with_turn(turn, replace(turn, absent_since_ms=0)) if turn.absent_since_ms else record


def undo(record: RolloutRecord, reason: str, now_ms: int, *, admits: str | None = None) -> RolloutRecord:
    """Gives a rollout up: workers that have changed go back. `admits` changes which version requests may start on."""
    admits = record.admits if admits is None else admits
    over = replace(record, turns=(), paused_ms=0, paused_by="", reason=reason[:MAX_REASON], admits=admits)
    if not record.previous:
        return replace(over, state=State.FAILED, ended_ms=now_ms, admits="")
    return replace(over, state=State.UNDOING, stranded=())


def _end_process(
    record: RolloutRecord, turn: Turn, members: Sequence[Member], now_ms: int, timeouts: Timeouts
) -> RolloutRecord:
    """Waits until the worker has ended and its next process is there, which takes over the turn."""
    for member in members:
        if member.worker_id == turn.worker_id and member.process != turn.process:
            return record.with_turn(turn, replace(turn, process=member.process, began_ms=now_ms))
    if now_ms - turn.began_ms < timeouts.turn_ms:
        return record
    reason = f"{turn.worker_id} was not started again within {timeouts.turn_ms / 1000:g} s"
    return _turn_failed(record, turn, members, reason, now_ms)


def _absence(
    record: RolloutRecord, turn: Turn, members: Sequence[Member], now_ms: int, timeouts: Timeouts
) -> RolloutRecord:
    """A lease also lapses when routers or Redis were away for long. A worker that was started again is lost at once."""
    restarted = any(member.worker_id == turn.worker_id for member in members)
    if not restarted and not turn.absent_since_ms:
        return record.with_turn(turn, replace(turn, absent_since_ms=now_ms))
    if not restarted and now_ms - turn.absent_since_ms < timeouts.absence_ms:
        return record
    doing = f"started on {record.goal}" if turn.replaced else "changed its weights"
    return _turn_failed(record, turn, members, f"{turn.worker_id} was lost while it {doing}", now_ms)


def _turn_failed(
    record: RolloutRecord, turn: Turn, members: Sequence[Member], reason: str, now_ms: int
) -> RolloutRecord:
    """Ends a rollout. On the way back, and when a late worker changes, the other workers go on without this one."""
    if record.state is State.ROLLING:
        return undo(record, reason, now_ms)
    said = record.reason if record.state is State.DONE else f"{record.reason}; {reason}"[:MAX_REASON]
    present = {member.process for member in members}
    stranded = [process for process in (*record.stranded, turn.process) if process in present]
    return replace(record.with_turn(turn, None), reason=said, stranded=tuple(stranded))
