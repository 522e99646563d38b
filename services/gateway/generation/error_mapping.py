"""The error that a client gets for a router's rejection or a worker's failure."""

from services.gateway.domain.generation import FieldNames
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
    router_pb2.REJECT_REASON_POISON: (EngineFailed, "The request failed on several workers and was given up."),
    router_pb2.REJECT_REASON_STORE_UNAVAILABLE: (StoreUnavailable, "The queue is not available. Please try again."),
}


def rejected(reject: router_pb2.Reject, model: str, tokens: int) -> TidegateError:
    """The error for a request that the router refused. If it may succeed later, the error has a Retry-After.

    Args:
        reject: the router's message.
        model: id of the model that was asked for.
        tokens: the estimated cost of the request.
    """
    if reject.reason == router_pb2.REJECT_REASON_RATE_LIMITED:
        return _rate_limited(reject, model, tokens)
    if reject.reason not in _REJECTIONS:
        return InternalError()
    kind, message = _REJECTIONS[reject.reason]
    after = reject.retry_after_ms / 1000 or (RETRY_AFTER_S if issubclass(kind, Overloaded) else None)
    return kind(message, param="model" if kind is UnknownModel else None, retry_after_s=after)


def _rate_limited(reject: router_pb2.Reject, model: str, tokens: int) -> RateLimited:
    state = next((state for state in reject.limits if state.name == reject.limit_name), router_pb2.LimitState())
    if not reject.retry_after_ms:
        limit = f"Limit {state.tokens_limit}, Requested {tokens}"
        return RateLimited(f"Request too large for {model} on tokens per minute: {limit}.")
    after_s = reject.retry_after_ms / 1000
    return RateLimited(
        f"Rate limit reached for {model} on {_exhausted(state, tokens)}. Please try again in {after_s:.3g}s.",
        retry_after_s=after_s,
    )


def _exhausted(state: router_pb2.LimitState, tokens: int) -> str:
    if state.requests_limit and not state.requests_remaining:
        return f"requests per minute: Limit {state.requests_limit}"
    if state.tokens_limit and state.tokens_remaining < tokens:
        left = f"Limit {state.tokens_limit}, Remaining {state.tokens_remaining}, Requested {tokens}"
        return f"tokens per minute: {left}"
    return "requests at once"


_FAILURES: dict[int, type[TidegateError]] = {
    worker_pb2.FAILURE_KIND_INVALID: InvalidRequest,
    worker_pb2.FAILURE_KIND_CONTEXT_LENGTH: ContextLengthExceeded,
    worker_pb2.FAILURE_KIND_DEADLINE: DeadlineExceeded,
}
"""Failures that the request itself causes. All others are the worker's, and clients never see their text."""


def failed(failure: worker_pb2.Failure, fields: FieldNames) -> TidegateError | None:
    """The error for a failure that the request causes; None when another worker may do better.

    Args:
        failure: what the worker says.
        fields: what the client calls the fields.
    """
    if failure.kind not in _FAILURES:
        return None
    kind = _FAILURES[failure.kind]
    # A worker of an older version does not name the prompt as the field that is too long.
    param = failure.param or ("prompt" if kind is ContextLengthExceeded else "")
    return kind(failure.message or "The request could not be served.", param=fields.of(param))
