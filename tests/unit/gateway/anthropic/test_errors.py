"""Errors in Anthropic's shape, with its types and statuses."""

import pytest

from services.gateway.anthropic import errors
from services.shared.errors import (
    Conflict,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotConfigured,
    NoWorkers,
    PermissionDenied,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
    TidegateError,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownRoute,
)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("x"), 400, "invalid_request_error"),
        (ContextLengthExceeded("x"), 400, "invalid_request_error"),
        (MethodNotAllowed("x"), 405, "invalid_request_error"),
        (Unauthenticated("x"), 401, "authentication_error"),
        (PermissionDenied("x"), 403, "permission_error"),
        (UnknownModel("x"), 404, "not_found_error"),
        (UnknownRoute("x"), 404, "not_found_error"),
        (Conflict("x"), 409, "conflict_error"),
        (TooLarge("x"), 413, "request_too_large"),
        (RateLimited("x"), 429, "rate_limit_error"),
        (QuotaExceeded("x"), 429, "rate_limit_error"),
        (QueueFull("x"), 529, "overloaded_error"),
        (NoWorkers("x"), 529, "overloaded_error"),
        (StoreUnavailable("x"), 529, "overloaded_error"),
        (DeadlineExceeded("x"), 504, "timeout_error"),
        (EngineFailed("x"), 502, "api_error"),
        (NotConfigured("x"), 501, "api_error"),
        (InternalError(), 500, "api_error"),
    ],
)
def test_types_and_statuses(error: TidegateError, status: int, kind: str) -> None:
    assert errors.status(error) == status
    body = errors.body(error, "ab")
    assert body == {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": "ab"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Invalid value for 'top_k': no.", "Invalid value for 'top_k': no."),
        ("It is too large.", "top_k: It is too large."),
    ],
)
def test_the_message_names_the_field(message: str, shown: str) -> None:
    assert errors.body(InvalidRequest(message, param="top_k"), "ab")["error"]["message"] == shown


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/batches", True),
        ("/v1/v1/messages", True),
        ("/v1/chat/completions", False),
        ("/v1/models", False),
    ],
)
def test_paths(path: str, found: bool) -> None:
    assert errors.is_anthropic(path) is found
