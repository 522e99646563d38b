"""The errors that a client can get, and how each looks in HTTP, gRPC and OpenAI's error object.

    TidegateError
    |-- InvalidRequest             the request can never succeed as it is
    |   |-- NotJson, UnsupportedMedia, TooLarge, RequestTimeout
    |   |-- ContextLengthExceeded
    |   |-- UnknownModel, UnknownRoute, MethodNotAllowed, NotFound, Conflict
    |-- Unauthenticated            no key, or an unknown one
    |-- PermissionDenied           a key without the right
    |-- RateLimited                the caller has reached one of its own limits
    |   |-- QuotaExceeded          its budget for this day or month is used up
    |-- Overloaded                 the cluster has no capacity now; try again after `retry_after_s` seconds
    |   |-- QueueFull, NoWorkers, StoreUnavailable
    |-- DeadlineExceeded           the time that the caller allowed is over
    |-- ClientLeft                 the client has disconnected
    |-- EngineFailed               the request was accepted but could not be finished
    |-- NotConfigured              the operator has not set up what this needs
    |-- InternalError              a bug or fault in Tidegate; clients get a general text

The handlers of REST and gRPC catch TidegateError; any other exception becomes an InternalError. Only `WIRE` knows the
status codes.
"""

from dataclasses import dataclass
from typing import Any


class TidegateError(Exception):
    """Base of all errors that a client can get.

    Args:
        message: Shown to the client as it is.
        param: Name of the request's field that is wrong.
        code: OpenAI's error code, when it differs from the one in `WIRE`.
        retry_after_s: Seconds after which the client may try again.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def wire(self) -> "Wire":
        """How this error looks to clients."""
        return next(WIRE[kind] for kind in type(self).__mro__ if kind in WIRE)

    def body(self) -> dict[str, dict[str, Any]]:
        """The error as OpenAI's error object: {"error": {message, type, param, code}}."""
        wire = self.wire
        return {
            "error": {
                "message": self.message,
                "type": wire.type,
                "param": self.param,
                "code": self.code or wire.code,
            }
        }


class InvalidRequest(TidegateError):
    """The request can never succeed as it is."""


class NotJson(InvalidRequest):
    """The body is not JSON."""


class UnsupportedMedia(InvalidRequest):
    """The body has a content type that the route does not take."""


class TooLarge(InvalidRequest):
    """The body is larger than the gateway allows."""


class RequestTimeout(InvalidRequest):
    """The body did not arrive in time."""


class ContextLengthExceeded(InvalidRequest):
    """Prompt and answer do not fit the model's context."""


class UnknownModel(InvalidRequest):
    """No pool serves the model."""


class UnknownRoute(InvalidRequest):
    """There is no such URL."""


class MethodNotAllowed(InvalidRequest):
    """The URL does not take this HTTP method."""


class Conflict(InvalidRequest):
    """The request contradicts the state of what it names."""


class NotFound(InvalidRequest):
    """The object that the request names does not exist."""


class Unauthenticated(TidegateError):
    """The request has no key, or an unknown one."""


class PermissionDenied(TidegateError):
    """The key does not have the right."""


class RateLimited(TidegateError):
    """The caller has reached one of its own limits."""


class QuotaExceeded(RateLimited):
    """The caller's budget for this day or month is used up."""


class Overloaded(TidegateError):
    """The cluster has no capacity now. Try again after `retry_after_s` seconds."""


class QueueFull(Overloaded):
    """The queue of the class has reached its limit."""


class NoWorkers(Overloaded):
    """The pool has no worker."""


class StoreUnavailable(Overloaded):
    """The router or its Redis cannot be reached."""


class DeadlineExceeded(TidegateError):
    """The time that the caller allowed is over."""


class ClientLeft(TidegateError):
    """The client has disconnected."""


class EngineFailed(TidegateError):
    """The request was accepted but could not be finished."""


class NotConfigured(TidegateError):
    """The operator has not set up what the request needs."""


class InternalError(TidegateError):
    """A bug or fault in Tidegate. The client gets a general text; the log has the details."""

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request. Please try again.")


@dataclass(frozen=True, slots=True)
class Wire:
    """How an error looks to clients: HTTP status, name of the gRPC status, and two fields of OpenAI's error object."""

    http: int
    grpc: str
    type: str
    code: str | None = None


_INVALID = "invalid_request_error"

WIRE: dict[type[TidegateError], Wire] = {
    InvalidRequest: Wire(400, "INVALID_ARGUMENT", _INVALID),
    NotJson: Wire(400, "INVALID_ARGUMENT", _INVALID, "invalid_json"),
    UnsupportedMedia: Wire(415, "INVALID_ARGUMENT", _INVALID, "unsupported_media_type"),
    TooLarge: Wire(413, "RESOURCE_EXHAUSTED", _INVALID, "request_too_large"),
    RequestTimeout: Wire(408, "DEADLINE_EXCEEDED", _INVALID, "request_timeout"),
    ContextLengthExceeded: Wire(400, "INVALID_ARGUMENT", _INVALID, "context_length_exceeded"),
    UnknownModel: Wire(404, "NOT_FOUND", _INVALID, "model_not_found"),
    UnknownRoute: Wire(404, "UNIMPLEMENTED", _INVALID, "unknown_url"),
    NotFound: Wire(404, "NOT_FOUND", _INVALID, "not_found"),
    MethodNotAllowed: Wire(405, "UNIMPLEMENTED", _INVALID, "method_not_allowed"),
    Conflict: Wire(409, "FAILED_PRECONDITION", _INVALID, "conflict"),
    Unauthenticated: Wire(401, "UNAUTHENTICATED", _INVALID, "invalid_api_key"),
    PermissionDenied: Wire(403, "PERMISSION_DENIED", _INVALID, "permission_denied"),
    RateLimited: Wire(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "rate_limit_exceeded"),
    QuotaExceeded: Wire(429, "RESOURCE_EXHAUSTED", "insufficient_quota", "insufficient_quota"),
    Overloaded: Wire(503, "UNAVAILABLE", "server_error", "overloaded"),
    QueueFull: Wire(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "queue_full"),
    NoWorkers: Wire(503, "UNAVAILABLE", "server_error", "no_workers"),
    StoreUnavailable: Wire(503, "UNAVAILABLE", "server_error", "router_unavailable"),
    DeadlineExceeded: Wire(408, "DEADLINE_EXCEEDED", "server_error", "deadline_exceeded"),
    ClientLeft: Wire(499, "CANCELLED", "server_error", "client_left"),
    EngineFailed: Wire(502, "UNAVAILABLE", "server_error", "engine_failed"),
    NotConfigured: Wire(501, "UNIMPLEMENTED", _INVALID, "not_configured"),
    InternalError: Wire(500, "INTERNAL", "server_error", "internal_error"),
    TidegateError: Wire(500, "INTERNAL", "server_error", "internal_error"),
}
