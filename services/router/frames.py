"""Answers and events as frames of the Dispatch stream."""

from services.router.events import Answer, Expired, Granted, Queued, Refused, Revoked
from services.router.scripts import Submission
from tidegate.router.v1 import router_pb2 as pb

RETRY_AFTER_MS = 1_000

_REFUSALS: dict[str, tuple[pb.RejectReason.ValueType, int]] = {
    "queue_full": (pb.REJECT_REASON_QUEUE_FULL, RETRY_AFTER_MS),
    "no_workers": (pb.REJECT_REASON_NO_WORKERS, RETRY_AFTER_MS),
    "expired": (pb.REJECT_REASON_DEADLINE, RETRY_AFTER_MS),
    "stale": (pb.REJECT_REASON_STALE_ATTEMPT, 0),
    "unknown_pool": (pb.REJECT_REASON_UNKNOWN_POOL, 0),
    "store_unavailable": (pb.REJECT_REASON_STORE_UNAVAILABLE, RETRY_AFTER_MS),
}
_REVOCATIONS: dict[str, pb.RevokeReason.ValueType] = {
    "lost": pb.REVOKE_REASON_WORKER_LOST,
    "restarted": pb.REVOKE_REASON_WORKER_RESTARTED,
}


def answer(submission: Submission, reply: Answer) -> pb.DispatchResponse:
    match reply:
        case Granted():
            return grant(reply)
        case Queued():
            queued = pb.Queued(request_id=submission.request_id, attempt=submission.attempt, position=reply.position)
            return pb.DispatchResponse(queued=queued)
        case Revoked():
            return revoke(reply)
        case Refused():
            return reject(submission.request_id, submission.attempt, reply.kind)


def grant(event: Granted) -> pb.DispatchResponse:
    return pb.DispatchResponse(
        grant=pb.Grant(
            request_id=event.request_id,
            attempt=event.attempt,
            worker_id=event.worker_id,
            worker_address=event.worker_address,
            worker_epoch=event.worker_epoch,
            model_version=event.model_version,
            queue_wait_ms=event.waited_ms,
            service_class=event.service_class.proto,
        )
    )


def revoke(event: Revoked) -> pb.DispatchResponse:
    reason = _REVOCATIONS[event.reason]
    return pb.DispatchResponse(revoke=pb.Revoke(request_id=event.request_id, attempt=event.attempt, reason=reason))


def expired(event: Expired) -> pb.DispatchResponse:
    return reject(event.request_id, event.attempt, "expired")


def reject(request_id: str, attempt: int, kind: str) -> pb.DispatchResponse:
    reason, retry_after_ms = _REFUSALS[kind]
    refusal = pb.Reject(request_id=request_id, attempt=attempt, reason=reason, retry_after_ms=retry_after_ms)
    return pb.DispatchResponse(reject=refusal)
