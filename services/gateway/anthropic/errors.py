"""Errors as clients of Anthropic's API read them: their types, their statuses, and their one shape."""

from typing import Any

import orjson

from services.gateway.anthropic.threads import THREAD_NOT_FOUND
from services.shared.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
    TidegateError,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownRoute,
)

PATHS = "/v1/messages"
"""Paths with this in them speak Anthropic's API, those that do not exist included (/v1/v1/messages)."""
REQUEST_ID = "request-id"
"""The header in which Anthropic's clients look for the request's id."""

_TYPES: dict[type[TidegateError], str] = {
    InvalidRequest: "invalid_request_error",
    Unauthenticated: "authentication_error",
    PermissionDenied: "permission_error",
    UnknownModel: "not_found_error",
    UnknownRoute: "not_found_error",
    NotFound: "not_found_error",
    Conflict: "conflict_error",
    TooLarge: "request_too_large",
    RateLimited: "rate_limit_error",
    Overloaded: "overloaded_error",
    DeadlineExceeded: "timeout_error",
    TidegateError: "api_error",
}
_STATUSES: dict[str, int] = {"overloaded_error": 529, "timeout_error": 504}
"""Where Anthropic's status differs from OpenAI's. A full queue is overload too: it is no limit of the caller's own."""


def is_anthropic(path: str) -> bool:
    """Whether a path speaks Anthropic's API."""
    return PATHS in path


def status(error: TidegateError) -> int:
    """Returns the HTTP status of an error."""
    return _STATUSES.get(_type(error), error.wire.http)


def body(error: TidegateError, request_id: str) -> dict[str, Any]:
    """Returns an error as clients see it. Anthropic's errors have no `param`, so the message names the field.

    Args:
        error: what went wrong.
        request_id: 32 hex digits.
    """
    message = error.message
    if error.param and error.param not in message:
        message = f"{error.param}: {message}"
    shown: dict[str, Any] = {"type": _type(error), "message": message}
    if error.code == THREAD_NOT_FOUND:
        shown["details"] = {"error_code": error.code}
    return {"type": "error", "error": shown, "request_id": request_id}


def event(error: TidegateError, request_id: str) -> bytes:
    """Returns the event that ends a stream with an error. Its arguments are those of `body`."""
    return b"event: error\ndata: " + orjson.dumps(body(error, request_id)) + b"\n\n"


def _type(error: TidegateError) -> str:
    return next(_TYPES[kind] for kind in type(error).__mro__ if kind in _TYPES)
