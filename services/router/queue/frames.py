"""Answers and events as frames of the Dispatch stream."""

from dataclasses import asdict

from services.router.core.events import (
    Answer,
    CrowdedOut,
    Expired,
    Granted,
    LimitState,
    Queued,
    Refused,
    Revoked,
    YieldAsked,
)
from services.router.redis.scripts import Submission
from tidegate.router.v1 import router_pb2 as pb

RETRY_AFTER_MS = 1_000

_REFUSALS: dict[str, tuple[pb.RejectReason.ValueType, int]] = {
    "queue_full": (pb.REJECT_REASON_QUEUE_FULL, RETRY_AFTER_MS),
    "no_workers": (pb.REJECT_REASON_NO_WORKERS, RETRY_AFTER_MS),
    "expired": (pb.REJECT_REASON_DEADLINE, RETRY_AFTER_MS),
    "limited": (pb.REJECT_REASON_RATE_LIMITED, RETRY_AFTER_MS),
    "poison": (pb.REJECT_REASON_POISON, 0),
    "stale": (pb.REJECT_REASON_STALE_ATTEMPT, 0),
    "unknown_pool": (pb.REJECT_REASON_UNKNOWN_POOL, 0),
    "store_unavailable": (pb.REJECT_REASON_STORE_UNAVAILABLE, RETRY_AFTER_MS),
}
_REVOCATIONS: dict[str, pb.RevokeReason.ValueType] = {
    "lost": pb.REVOKE_REASON_WORKER_LOST,
    "restarted": pb.REVOKE_REASON_WORKER_RESTARTED,
    "stuck": pb.REVOKE_REASON_WORKER_STUCK,
}


def answer(submission: Submission, reply: Answer) -> pb.RouterFrame:
    match reply:
        case Granted():
            return grant(reply)
        case Queued():
            return queued(submission.request_id, submission.attempt, reply)
        case Revoked():
            return revoke(reply)
        case Refused():
            return refuse(submission.request_id, submission.attempt, reply)


def grant(event: Granted) -> pb.RouterFrame:
    return pb.RouterFrame(
        grant=pb.Grant(
            request_id=event.request_id,
            attempt=event.attempt,
            worker_id=event.worker_id,
            worker_address=event.worker_address,
            worker_epoch=event.worker_epoch,
            model_version=event.model_version,
            queue_wait_ms=event.waited_ms,
            service_class=event.service_class.proto,
            expected_cached_tokens=event.expected_cached_tokens,
            limits=_limits(event.limits),
        )
    )


def queued(request_id: str, attempt: int, reply: Queued) -> pb.RouterFrame:
    return pb.RouterFrame(
        queued=pb.Queued(
            request_id=request_id,
            attempt=attempt,
            position=reply.position,
            expected_wait_ms=reply.wait_ms,
            limits=_limits(reply.limits),
        )
    )


def revoke(event: Revoked) -> pb.RouterFrame:
    reason = _REVOCATIONS[event.reason]
    return pb.RouterFrame(revoke=pb.Revoke(request_id=event.request_id, attempt=event.attempt, reason=reason))


def expired(event: Expired) -> pb.RouterFrame:
    return reject(event.request_id, event.attempt, "expired")


def crowded_out(event: CrowdedOut) -> pb.RouterFrame:
    return refuse(event.request_id, event.attempt, Refused("queue_full", event.retry_after_ms))


def yield_(event: YieldAsked) -> pb.RouterFrame:
    # `yield` is a word of Python's, so the field has no name to assign to.
    response = pb.RouterFrame()
    getattr(response, "yield").CopyFrom(pb.Yield(request_id=event.request_id, attempt=event.attempt))
    return response


def reject(request_id: str, attempt: int, kind: str) -> pb.RouterFrame:
    return refuse(request_id, attempt, Refused(kind))


def refuse(request_id: str, attempt: int, refused: Refused) -> pb.RouterFrame:
    reason, retry_after_ms = _REFUSALS[refused.kind]
    return pb.RouterFrame(
        reject=pb.Reject(
            request_id=request_id,
            attempt=attempt,
            reason=reason,
            retry_after_ms=retry_after_ms if refused.retry_after_ms is None else _retry_after(refused),
            limit_name=refused.limit,
            limits=_limits(refused.limits),
        )
    )


def _retry_after(refused: Refused) -> int:
    """What the script predicts from the pace of grants, but for a full queue never less than a moment."""
    predicted = refused.retry_after_ms or 0
    return max(predicted, RETRY_AFTER_MS) if refused.kind == "queue_full" else predicted


def _limits(states: tuple[LimitState, ...]) -> list[pb.LimitState]:
    return [pb.LimitState(**asdict(state)) for state in states]
