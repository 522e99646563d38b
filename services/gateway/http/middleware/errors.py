"""Errors as HTTP responses, in OpenAI's format or, where a path speaks Anthropic's API, in its own."""

import math
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from services.gateway.anthropic import errors as anthropic
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.middleware.url_hints import hint
from services.gateway.openai import problem_texts
from services.shared.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    RequestTimeout,
    TidegateError,
    Unauthenticated,
    UnknownRoute,
)


def error_response(error: TidegateError, scope: Scope) -> Response:
    """Returns the response that tells a client of an error. scope: ASGI scope of the request."""
    status, body = error.wire.http, error.body()
    if anthropic.is_anthropic(scope["path"]):
        status, body = anthropic.status(error), anthropic.body(error, RequestContext.of(scope).request_id)
    return Response(orjson.dumps(body), status_code=status, headers=_headers(error), media_type="application/json")


def add_error_handlers(app: FastAPI) -> None:
    """Makes `app` answer every error in the format of its API, those of its own routing included."""
    app.add_exception_handler(TidegateError, _tidegate_error)
    app.add_exception_handler(HTTPException, _routing_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_exception_handler(Exception, _unexpected_error)


def _headers(error: TidegateError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeout):
        headers["connection"] = "close"
    return headers


async def _tidegate_error(request: Request, error: Exception) -> Response:
    return error_response(error if isinstance(error, TidegateError) else InternalError(), request.scope)


async def _parameter_error(request: Request, error: Exception) -> Response:
    """Handlers validate bodies themselves, so FastAPI finds mistakes only in the path and in the query string."""
    problem: Any = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "type": ""}
    param = str(problem["loc"][-1])[:64] if problem["loc"] else None
    message = f"Invalid value for '{param}': {problem_texts.text(problem['type'], problem.get('ctx', {}))}."
    return error_response(InvalidRequest(message, param=param, code="invalid_value"), request.scope)


async def _unexpected_error(request: Request, _: Exception) -> Response:
    return error_response(InternalError(), request.scope)


async def _routing_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    where = f"{request.method} {request.url.path[:128]}"
    if status == 404:
        return error_response(UnknownRoute(f"Unknown request URL: {where}.{_hint(request)}"), request.scope)
    if status == 405:
        response = error_response(MethodNotAllowed(f"Not allowed to {where}."), request.scope)
        response.headers.update(getattr(error, "headers", None) or {})
        return response
    unread = InvalidRequest("The request could not be read.") if status < 500 else InternalError()
    return error_response(unread, request.scope)


def _hint(request: Request) -> str:
    def exists(path: str) -> bool:
        scope = {**request.scope, "path": path}
        return any(route.matches(scope)[0] is not Match.NONE for route in request.app.routes)

    return hint(request.url.path, exists)
