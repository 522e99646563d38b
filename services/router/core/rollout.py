"""A rollout brings a pool to another model version, a few workers at a time.

    rolling -> done                       every worker serves the version
    rolling -> undoing -> failed          one worker could not, or a gate said no: those that had changed go back

A worker changes in place, or is replaced where it cannot: it drains and ends, and its next process starts on the goal.
How many change at once, in which steps, and which version requests may start on, is up to the policy
(rollout_policy.py).

The record says whose turn it is (rollout_record.py). Any replica may carry a rollout on: `advance` derives the next
record from the record and the workers, `orders` says what to send to which workers, and both may be repeated without
harm. The goal of a rollout that has ended stays: a worker that attaches with another version is asked to change too,
once in the life of its process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.router.core.gate import Decision, Verdict
from services.router.core.rollout_policy import ONE_BY_ONE, Kind, Policy, half
from services.router.core.rollout_record import Member, Outcome, RolloutRecord, State, Turn, worker_of
from services.router.core.rollout_turn import Timeouts, follow_turn, undo


@dataclass(frozen=True, slots=True)
class Order:
    """A worker is asked to change to a version."""

    worker_id: str
    delivery_id: str
    version: str
    finish_timeout_ms: int
    mode: str = ""


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
        speculator: The version of the speculator; "" as above.
        speculator_delivery_id: The update of the speculator that this start is part of; or "".
    """

    version: str = ""
    delivery_id: str = ""
    speculator: str = ""
    speculator_delivery_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for.

    Attributes:
        target: The version that workers are brought to.
        finish_ms: Time for requests of a worker that no other one can continue, before it changes.
        mode: What workers do with requests that run then; "" for what the pool's setting says.
        policy: How the rollout goes through the pool.
        who: Who asks.
        why: Why, as that person says.
    """

    target: str
    finish_ms: int = 0
    mode: str = ""
    policy: Policy = ONE_BY_ONE
    who: str = ""
    why: str = ""


def begin(
    rollout_id: str, asked: Request, members: Sequence[Member], before: RolloutRecord | None, *, now_ms: int
) -> RolloutRecord:
    """Starts a rollout.

    Args:
        rollout_id: Its id.
        asked: What an operator asks for.
        members: The pool's workers.
        before: The record of the last rollout. If this one fails, workers go back to the goal of the last one; without
            a last one, to the version that most workers have.
        now_ms: The time.
    """
    versions = [member.version for member in members if member.version]
    common = max(sorted(set(versions)), key=versions.count, default="")
    return RolloutRecord(
        rollout_id,
        asked.target,
        (before.goal if before else "") or common,
        now_ms,
        finish_timeout_ms=asked.finish_ms,
        mode=asked.mode,
        revision=before.revision + 1 if before else 1,
        policy=asked.policy,
        admits=common if asked.policy.kind is Kind.ALL_AT_ONCE else "",
        who=asked.who,
        why=asked.why,
    )


def advance(
    record: RolloutRecord,
    members: Sequence[Member],
    *,
    now_ms: int,
    timeouts: Timeouts,
    verdict: Verdict | None = None,
) -> RolloutRecord:
    """Returns the next record, or the same one when there is nothing to do but wait.

    Args:
        record: The record.
        members: The pool's workers.
        now_ms: The time.
        timeouts: Time limits of a turn.
        verdict: What the pool's gate says of the new version; None if the pool has no gate.
    """
    advanced = _advance(record, members, now_ms, timeouts, verdict)
    return record if advanced == record else replace(advanced, revision=record.revision + 1)


def orders(record: RolloutRecord, members: Sequence[Member]) -> list[Order | Ending]:
    """What to send to the workers whose turn it is. Those that have heard of it already are left out."""
    said = (_order(record, member, turn) for member in members if (turn := record.turn_of(member.process)))
    return [order for order in said if order]


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
    for turn in record.turns:
        is_next = turn.replaced != process and turn.process in (turn.replaced, process)
        if is_next and worker_of(turn.replaced) == worker_id:
            return Start(record.goal, record.delivery_id)
    return Start(record.previous if record.state is State.ROLLING else record.goal)


def stop(record: RolloutRecord, reason: str, now_ms: int) -> RolloutRecord:
    """Gives a running rollout up. `reason` is what operators are told."""
    return replace(undo(record, reason, now_ms), revision=record.revision + 1)


def pause(record: RolloutRecord, by: str, now_ms: int) -> RolloutRecord:
    """No other worker begins to change until the rollout is resumed. Those that are changing go on."""
    if record.state is not State.ROLLING or record.paused_ms:
        return record
    return replace(record, paused_ms=now_ms, paused_by=by, revision=record.revision + 1)


def resume(record: RolloutRecord, now_ms: int) -> RolloutRecord:
    """Goes on after a pause, which counts neither as holding nor as waiting for a verdict."""
    if not record.paused_ms:
        return record
    since_ms = record.step_since_ms and min(now_ms, record.step_since_ms + now_ms - record.paused_ms)
    return replace(record, paused_ms=0, paused_by="", step_since_ms=since_ms, revision=record.revision + 1)


def _order(record: RolloutRecord, member: Member, turn: Turn) -> Order | Ending | None:
    if turn.replaced == turn.process:
        ending = Ending(member.worker_id, record.finish_timeout_ms)
        return ending if member.state != "draining" else None
    if turn.replaced or member.delivery_id == record.delivery_id:
        return None
    return Order(member.worker_id, record.delivery_id, record.goal, record.finish_timeout_ms, record.mode)


def _advance(
    record: RolloutRecord, members: Sequence[Member], now_ms: int, timeouts: Timeouts, verdict: Verdict | None
) -> RolloutRecord:
    if record.state is State.ROLLING and verdict and verdict.decision is Decision.FAIL:
        return _reject(record, members, verdict.reason, now_ms)
    followed = record
    for turn in record.turns:
        followed = follow_turn(followed, turn, members, now_ms=now_ms, timeouts=timeouts)
        if followed.state is not record.state:
            break
    if followed != record:
        return followed
    admitting = _change_over(record, members)
    if admitting != record:
        return admitting
    return _next_turns(record, members, now_ms) or _next_step(record, members, now_ms, verdict)


def _reject(record: RolloutRecord, members: Sequence[Member], reason: str, now_ms: int) -> RolloutRecord:
    """No request starts on a version that a gate has rejected, as long as the former version has a worker.

    A pool that changes over goes back as it came: when half of it has gone back.
    """
    has_former = any(_serves(member, record.previous) for member in members)
    is_closed = has_former and record.policy.kind is not Kind.ALL_AT_ONCE
    return undo(record, reason, now_ms, admits=record.previous if is_closed else None)


def _change_over(record: RolloutRecord, members: Sequence[Member]) -> RolloutRecord:
    """Requests start on the goal only, once half of the pool has it or nothing else is left."""
    has_former = any(_serves(member, record.admits) for member in members)
    if not record.admits or (has_former and record.admits_goal_only):
        return record
    if record.policy.kind is not Kind.ALL_AT_ONCE:
        return record if has_former else replace(record, admits="")
    on_goal = sum(_serves(member, record.goal) for member in members)
    if on_goal >= half(len(_loaded(record, members))) or (on_goal and not has_former):
        return replace(record, admits=record.goal)
    return record


def _next_turns(record: RolloutRecord, members: Sequence[Member], now_ms: int) -> RolloutRecord | None:
    """Gives turns to as many workers as may change now; None if there is no such worker.

    A worker that is changing already goes first: each has a time limit, and counts among those that change.
    """
    idle = [member for member in sorted(members, key=lambda one: one.worker_id) if not record.turn_of(member.process)]
    changing = [member for member in idle if _is_changing(record, member)]
    ready = [m for m in idle if m not in changing and m.state == "ready" and _needs_goal(record, m)]
    free = max(0, record.policy.parallel(len(_loaded(record, members))) - len(record.turns))
    chosen = changing[:free]
    chosen += ready[: max(0, min(free - len(chosen), _allowed(record, members) - len(changing)))]
    if not chosen:
        return None
    return replace(record, turns=(*record.turns, *(Turn(member.process, now_ms) for member in chosen)))


def _allowed(record: RolloutRecord, members: Sequence[Member]) -> int:
    """How many more workers may begin to change to the goal, whatever the others do now."""
    if record.paused_ms:
        return 0
    loaded = _loaded(record, members)
    limit = _limit(record, len(loaded))
    turns = {turn.process for turn in record.turns}
    has = sum(member.version == record.goal and member.process not in turns for member in loaded)
    return limit - has - len(turns)


def _limit(record: RolloutRecord, pool_size: int) -> int:
    """Workers that may have the goal now. A pool that changes over does so in the middle."""
    limit = record.policy.limit(record.step, pool_size) if record.state is State.ROLLING else None
    if record.policy.kind is Kind.ALL_AT_ONCE and record.admits and not record.admits_goal_only:
        limit = half(pool_size)
    # Workers that still load may come to serve the version too: there is no limit for the whole pool.
    return pool_size + len(record.turns) if limit is None else limit


def _next_step(record: RolloutRecord, members: Sequence[Member], now_ms: int, verdict: Verdict | None) -> RolloutRecord:
    """Ends the step, or the rollout, when nobody is left who could change in it."""
    if record.turns or record.state.has_ended:
        return record
    # A worker whose stream broke comes back, or its lease ends soon.
    if _allowed(record, members) > 0 and any(m.state == "detached" and _needs_goal(record, m) for m in members):
        return record
    pool_size = len(_loaded(record, members))
    if record.state is State.ROLLING and record.policy.limit(record.step, pool_size) is not None:
        return _hold(record, pool_size, now_ms, verdict)
    if record.paused_ms:
        return record
    ended = replace(record, state=State.DONE if record.state is State.ROLLING else State.FAILED, ended_ms=now_ms)
    return replace(ended, admits=ended.goal if record.policy.kind is Kind.ALL_AT_ONCE else "")


def _hold(record: RolloutRecord, pool_size: int, now_ms: int, verdict: Verdict | None) -> RolloutRecord:
    """The rollout goes on after the time of the step, when the gate has said yes, or there is nothing to judge."""
    if record.paused_ms:
        return record
    if not record.step_since_ms:
        return replace(record, step_since_ms=now_ms)
    over_ms = now_ms - record.step_since_ms - record.policy.hold_ms(record.step, pool_size)
    if over_ms < 0:
        return record
    if verdict is None or verdict.decision is Decision.PASS or why_unjudged(record, pool_size, verdict):
        return replace(record, step=record.policy.after(record.step, pool_size), step_since_ms=0)
    if over_ms < record.policy.max_wait_ms:
        return record
    waited = f"the gate of step {record.step + 1} said nothing within {record.policy.max_wait_ms / 1000:g} s"
    return undo(record, f"{waited}: {verdict.reason}", now_ms)


def why_unjudged(record: RolloutRecord, pool_size: int, verdict: Verdict) -> str:
    """Why a step ends without a verdict, although the pool has a gate; "" while the gate has to speak."""
    if verdict.idle:
        return "no request came, so there was nothing to compare"
    limit = record.policy.limit(record.step, pool_size)
    if limit is not None and limit >= pool_size:
        return "every worker of the pool has the version, so there was nothing to compare with"
    return ""


def pool_size(record: RolloutRecord, members: Sequence[Member]) -> int:
    """How many workers a share of the pool is a share of."""
    return len(_loaded(record, members))


def _loaded(record: RolloutRecord, members: Sequence[Member]) -> list[Member]:
    """The pool as shares count it: workers that have a version and stay, and those that have their turn."""
    return [m for m in members if (m.version and m.state != "draining") or record.turn_of(m.process)]


def _serves(member: Member, version: str) -> bool:
    return member.state == "ready" and member.version == version


def _is_changing(record: RolloutRecord, member: Member) -> bool:
    under_way = member.outcome is Outcome.UNDER_WAY and member.state != "draining"
    return under_way and bool(record.goal) and member.process not in record.stranded


def _needs_goal(record: RolloutRecord, member: Member) -> bool:
    return bool(record.goal) and member.version != record.goal and member.process not in record.stranded
