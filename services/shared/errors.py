"""What can go wrong for a client, and how each failure looks on the wire.

    TidegateError
    |-- InvalidRequest             the request can never succeed as it is
    |   |-- NotJson, UnsupportedMedia, TooLarge, RequestTimeout
    |   |-- ContextLengthExceeded
    |   |-- UnknownModel, UnknownRoute, MethodNotAllowed, NotFound, Conflict
    |-- Unauthenticated            no key, or one we do not know
    |-- PermissionDenied           a key without the right
    |-- RateLimited                over the caller's own limits
    |   |-- QuotaExceeded          its budget for this day or month is used up
    |-- Overloaded                 the cluster has no room now; try again after `retry_after_s`
    |   |-- QueueFull, NoWorkers, StoreUnavailable
    |-- DeadlineExceeded           the caller's own time ran out
    |-- ClientLeft                 nobody is there to be told
    |-- EngineFailed               the work was accepted and could not be finished
    |-- NotConfigured              the operator has not set up what this needs
    |-- InternalError              a fault of ours; the text given to clients is generic

Handlers at the edge (REST and gRPC) catch TidegateError and nothing more special; whatever else reaches them is an
InternalError. `WIRE` is the only place that knows statuses.
"""

from dataclasses import dataclass
from typing import Any


class TidegateError(Exception):
    """Root of everything a client may be told. `message` is shown to the client as it is."""

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
        return next(WIRE[kind] for kind in type(self).__mro__ if kind in WIRE)

    def body(self) -> dict[str, dict[str, Any]]:
        """The error as OpenAI shapes it: {"error": {message, type, param, code}}."""
        wire = self.wire
        return {
            "error": {
                "message": self.message,
                "type": wire.type,
                "param": self.param,
                "code": self.code or wire.code,
            }
        }


class InvalidRequest(TidegateError): ...


class NotJson(InvalidRequest): ...


class UnsupportedMedia(InvalidRequest): ...


class TooLarge(InvalidRequest): ...


class RequestTimeout(InvalidRequest): ...


class ContextLengthExceeded(InvalidRequest): ...


class UnknownModel(InvalidRequest): ...


class UnknownRoute(InvalidRequest): ...


class MethodNotAllowed(InvalidRequest): ...


class Conflict(InvalidRequest): ...


class NotFound(InvalidRequest): ...


class Unauthenticated(TidegateError): ...


class PermissionDenied(TidegateError): ...


class RateLimited(TidegateError): ...


class QuotaExceeded(RateLimited): ...


class Overloaded(TidegateError): ...


class QueueFull(Overloaded): ...


class NoWorkers(Overloaded): ...


class StoreUnavailable(Overloaded): ...


class DeadlineExceeded(TidegateError): ...


class ClientLeft(TidegateError): ...


class EngineFailed(TidegateError): ...


class NotConfigured(TidegateError): ...


class InternalError(TidegateError):
    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request. Please try again.")


@dataclass(frozen=True, slots=True)
class Wire:
    """http: HTTP status. grpc: name of the gRPC status. type, code: fields of OpenAI's error object."""

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
