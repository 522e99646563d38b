"""Rollouts as operators see them: the messages of the control service."""

from services.router.core.gate import Decision, Row, Verdict
from services.router.core.rollout_history import Event, EventKind
from services.router.core.rollout_policy import Kind
from services.router.core.rollout_record import RolloutRecord, State
from services.router.queue.snapshot import PoolRow, WorkerRow
from services.router.rollout_lane import MODEL, Lane
from services.shared.classes import ServiceClass
from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb

_STATES = {
    State.ROLLING: pb.ROLLOUT_STATE_ROLLING,
    State.UNDOING: pb.ROLLOUT_STATE_UNDOING,
    State.DONE: pb.ROLLOUT_STATE_DONE,
    State.FAILED: pb.ROLLOUT_STATE_FAILED,
}
_POLICIES = {
    Kind.ROLLING: pb.ROLLOUT_POLICY_ROLLING,
    Kind.CANARY: pb.ROLLOUT_POLICY_CANARY,
    Kind.ALL_AT_ONCE: pb.ROLLOUT_POLICY_ALL_AT_ONCE,
}
_DECISIONS = {
    Decision.WAIT: pb.GATE_DECISION_WAIT,
    Decision.PASS: pb.GATE_DECISION_PASS,
    Decision.FAIL: pb.GATE_DECISION_FAIL,
}


def rollout_message(
    pool: str, record: RolloutRecord, row: PoolRow, verdict: Verdict | None, now_ms: int, lane: Lane = MODEL
) -> pb.Rollout:
    """A rollout and its workers.

    Args:
        pool: Name of the pool.
        record: The record.
        row: The pool's workers.
        verdict: What the pool's gate says now, if it has one.
        now_ms: The time.
        lane: Whether it is of the pool's model, or of its speculator.
    """
    message = pb.Rollout(
        speculator=lane.speculator,
        rollout_id=record.rollout_id,
        pool=pool,
        model_version=record.target,
        previous_version=record.previous,
        state=_STATES[record.state],
        reason=record.reason,
        started_ms=record.started_ms,
        ended_ms=record.ended_ms,
        workers=[_worker(record, worker, lane) for worker in sorted(row.workers, key=lambda w: w.heartbeat.worker_id)],
        policy=_POLICIES[record.policy.kind],
        paused_by=record.paused_by,
        admitted_version=record.admits,
        who=record.who,
        why=record.why,
        at_once=record.policy.parallel(len(row.workers)),
        mode=_mode(record.mode),
    )
    if record.policy.steps:
        message.step.CopyFrom(_step(record, len(row.workers), now_ms))
    if verdict:
        message.gate.CopyFrom(gate_message(verdict))
    return message


def gate_message(verdict: Verdict) -> pb.GateVerdict:
    """What a gate says, with its figures."""
    return pb.GateVerdict(
        decision=_DECISIONS[verdict.decision],
        reason=verdict.reason,
        opened_ms=verdict.opened_ms,
        figures=map(_figure, verdict.rows),
    )


def _figure(row: Row) -> pb.GateFigure:
    return pb.GateFigure(
        service_class=ServiceClass.of_label(row.service_class).proto,
        figure=row.figure,
        old_value=row.old,
        new_value=row.new,
        bound=row.bound,
        old_requests=row.old_requests,
        new_requests=row.new_requests,
        worse=row.worse,
    )


def event_message(event: Event) -> pb.RolloutEvent:
    """An entry of the history."""
    return pb.RolloutEvent(
        kind=_KINDS[event.kind],
        at_ms=event.at_ms,
        rollout_id=event.rollout_id,
        revision=event.revision,
        model_version=event.target,
        previous_version=event.previous,
        policy=_POLICIES[Kind(event.policy)],
        step=event.step,
        who=event.who,
        why=event.why,
        mode=_mode(event.mode),
    )


_KINDS = {
    EventKind.STARTED: pb.ROLLOUT_EVENT_KIND_STARTED,
    EventKind.STEP_REACHED: pb.ROLLOUT_EVENT_KIND_STEP_REACHED,
    EventKind.STEP_PASSED: pb.ROLLOUT_EVENT_KIND_STEP_PASSED,
    EventKind.ADMISSION_CHANGED: pb.ROLLOUT_EVENT_KIND_ADMISSION_CHANGED,
    EventKind.PAUSED: pb.ROLLOUT_EVENT_KIND_PAUSED,
    EventKind.RESUMED: pb.ROLLOUT_EVENT_KIND_RESUMED,
    EventKind.UNDOING: pb.ROLLOUT_EVENT_KIND_UNDOING,
    EventKind.DONE: pb.ROLLOUT_EVENT_KIND_DONE,
    EventKind.FAILED: pb.ROLLOUT_EVENT_KIND_FAILED,
}


def _mode(mode: str) -> "pb.SwapMode.ValueType":
    return pb.SwapMode.Value(SwapMode(mode).proto_name) if mode else pb.SWAP_MODE_UNSPECIFIED


def _step(record: RolloutRecord, workers: int, now_ms: int) -> pb.RolloutStep:
    count = len(record.policy.steps)
    limit = record.policy.limit(record.step, workers)
    step = pb.RolloutStep(number=record.step + 1, count=count, workers=workers if limit is None else limit)
    if record.step_since_ms and not record.state.has_ended:
        at_ms = record.paused_ms or now_ms
        over_ms = record.step_since_ms + record.policy.steps[record.step].hold_ms
        step.hold_left_ms = max(0, over_ms - at_ms)
    return step


def _worker(record: RolloutRecord, row: WorkerRow, lane: Lane) -> pb.RolloutWorker:
    beat, delivery = row.heartbeat, lane.delivery(row.heartbeat)
    worker = pb.RolloutWorker(worker_id=beat.worker_id, state=beat.state, model_version=lane.version(beat))
    if delivery and delivery.delivery_id.startswith(record.rollout_id):
        worker.delivery.CopyFrom(delivery)
    return worker
