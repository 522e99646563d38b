"""How a router's rejection and a worker's failure are told to clients."""

from services.shared.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InternalError,
    InvalidRequest,
    NoWorkers,
    Overloaded,
    QueueFull,
    RateLimited,
    StoreUnavailable,
    TidegateError,
    UnknownModel,
)
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

RETRY_AFTER_S = 1.0

_REJECTIONS: dict[int, tuple[type[TidegateError], str]] = {
    router_pb2.REJECT_REASON_UNKNOWN_POOL: (UnknownModel, "The model does not exist."),
    router_pb2.REJECT_REASON_QUEUE_FULL: (QueueFull, "The queue is full. Please try again later."),
    router_pb2.REJECT_REASON_NO_WORKERS: (NoWorkers, "No worker serves this model now. Please try again later."),
    router_pb2.REJECT_REASON_TOO_LARGE: (ContextLengthExceeded, "The request is larger than any worker can hold."),
    router_pb2.REJECT_REASON_DEADLINE: (DeadlineExceeded, "The request could not be started in time."),
    router_pb2.REJECT_REASON_RATE_LIMITED: (RateLimited, "Rate limit reached. Please try again later."),
    router_pb2.REJECT_REASON_POISON: (EngineFailed, "The request failed on several workers and was given up."),
    router_pb2.REJECT_REASON_STORE_UNAVAILABLE: (StoreUnavailable, "The queue is not available. Please try again."),
}


def rejected(reject: router_pb2.Reject) -> TidegateError:
    """Every refusal that time may heal carries Retry-After."""
    if reject.reason not in _REJECTIONS:
        return InternalError()
    kind, message = _REJECTIONS[reject.reason]
    after = reject.retry_after_ms / 1000 or (RETRY_AFTER_S if issubclass(kind, Overloaded | RateLimited) else None)
    return kind(message, param="model" if kind is UnknownModel else None, retry_after_s=after)


_FAILURES: dict[int, type[TidegateError]] = {
    worker_pb2.FAILURE_KIND_INVALID: InvalidRequest,
    worker_pb2.FAILURE_KIND_CONTEXT_LENGTH: ContextLengthExceeded,
    worker_pb2.FAILURE_KIND_DEADLINE: DeadlineExceeded,
}
"""Failures that are the request's own; the others are the worker's, and their text stays inside."""


def failed(failure: worker_pb2.Failure) -> TidegateError | None:
    """None when the worker is at fault and another one may do better."""
    if failure.kind not in _FAILURES:
        return None
    kind = _FAILURES[failure.kind]
    return kind(failure.message or "The request could not be served.", param=failure.param or None)
