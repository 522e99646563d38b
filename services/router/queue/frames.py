"""Answers and events as frames of the Dispatch stream.

A frame's fields have the names that core/events.py declares, so most are copied by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from google.protobuf.message import Message

from services.router.core.events import (
    Answer,
    Displaced,
    Expired,
    Granted,
    LimitState,
    Preempted,
    Queued,
    Refused,
    Revoked,
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


def common_fields(event: type, message: type[Message], *converted: str) -> tuple[str, ...]:
    """Names that a declared event and a message have in common, without those that need to be converted."""
    known = message.DESCRIPTOR.fields_by_name
    return tuple(f.name for f in fields(event) if f.name in known and f.name not in converted)


GRANT_FIELDS = common_fields(Granted, pb.Grant, "service_class", "limits")


def answer(submission: Submission, reply: Answer) -> pb.RouterFrame:
    """The frame that answers a Submit."""
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
    """The frame of a grant."""
    copied: dict[str, Any] = {name: getattr(event, name) for name in GRANT_FIELDS}
    message = pb.Grant(**copied, service_class=event.service_class.proto, limits=_limits(event.limits))
    return pb.RouterFrame(grant=message)


def queued(request_id: str, attempt: int, reply: Queued) -> pb.RouterFrame:
    """The frame that tells the position of a request that waits."""
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
    """The frame that takes a grant back."""
    reason = _REVOCATIONS[event.reason]
    return pb.RouterFrame(revoke=pb.Revoke(request_id=event.request_id, attempt=event.attempt, reason=reason))


def expired(event: Expired) -> pb.RouterFrame:
    """The frame for a request that waited until its deadline."""
    return reject(event.request_id, event.attempt, "expired")


def displaced(event: Displaced) -> pb.RouterFrame:
    """The frame for a request that lost its place in a full queue: the same as for one that finds it full."""
    return refuse(event.request_id, event.attempt, Refused("queue_full", event.retry_after_ms))


def preempted(event: Preempted) -> pb.RouterFrame:
    """The frame that asks a gateway to give a running request up."""
    # `yield` is a keyword of Python, so the field cannot be set by its name.
    response = pb.RouterFrame()
    getattr(response, "yield").CopyFrom(pb.Yield(request_id=event.request_id, attempt=event.attempt))
    return response


def event_frame(event: Granted | Revoked | Expired | Displaced | Preempted) -> pb.RouterFrame:
    """The frame of any event for a gateway."""
    return _EVENT_FRAMES[type(event)](event)


_EVENT_FRAMES: Mapping[type, Callable[[Any], pb.RouterFrame]] = {
    Granted: grant,
    Revoked: revoke,
    Expired: expired,
    Displaced: displaced,
    Preempted: preempted,
}


def reject(request_id: str, attempt: int, kind: str) -> pb.RouterFrame:
    """The frame of a refusal that has nothing but its kind."""
    return refuse(request_id, attempt, Refused(kind))


def refuse(request_id: str, attempt: int, refused: Refused) -> pb.RouterFrame:
    """The frame of a refusal."""
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
    """What the script predicts from the pace of grants; for a full queue at least RETRY_AFTER_MS."""
    predicted = refused.retry_after_ms or 0
    return max(predicted, RETRY_AFTER_MS) if refused.kind == "queue_full" else predicted


def _limits(states: tuple[LimitState, ...]) -> list[pb.LimitState]:
    return [pb.LimitState(**asdict(state)) for state in states]
