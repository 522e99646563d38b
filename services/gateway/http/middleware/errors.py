"""Errors as HTTP responses in OpenAI's shape."""

import math

import orjson
from starlette.responses import Response

from services.shared.errors import RequestTimeout, TidegateError, Unauthenticated


def error_response(error: TidegateError) -> Response:
    return Response(
        orjson.dumps(error.body()),
        status_code=error.wire.http,
        headers=_headers(error),
        media_type="application/json",
    )


def _headers(error: TidegateError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeout):
        headers["connection"] = "close"
    return headers
