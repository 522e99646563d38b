"""OpenAI's REST API over answers and catalog."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.answer import Answers
from services.gateway.asking import Asking
from services.gateway.generation import Generation
from services.gateway.metrics import Metrics
from services.gateway.openai.chat import ChatCompletionRequest
from services.gateway.openai.completions import CompletionRequest
from services.gateway.openai.sse import ChatStream, CompletionStream
from services.gateway.openai.whole import ChatWhole, CompletionWhole
from services.gateway.rest.body import read_object
from services.gateway.rest.errors import error_response
from services.gateway.rest.exchange import Exchange
from services.gateway.rest.openapi import body_of, document_models
from services.gateway.rest.response import AnswerResponse, Shape
from services.shared.errors import InternalError, InvalidRequest, MethodNotAllowed, TidegateError, UnknownRoute
from services.shared.telemetry import Check

CHAT = Shape(ChatStream, ChatWhole)
COMPLETION = Shape(CompletionStream, CompletionWhole)


@dataclass(frozen=True, slots=True)
class Bounds:
    max_body_bytes: int
    body_timeout_s: float
    stall_timeout_s: float


class Api:
    def __init__(self, asking: Asking, answers: Answers, metrics: Metrics, bounds: Bounds, live: Check, ready: Check):
        self._asking, self._answers, self._metrics, self._bounds = asking, answers, metrics, bounds
        self._live, self._ready = live, ready

    def app(self) -> FastAPI:
        app = FastAPI(title="Tidegate", redoc_url=None, redirect_slashes=False)
        add = app.add_api_route
        add("/v1/chat/completions", self.chat, methods=["POST"], openapi_extra=body_of(ChatCompletionRequest))
        add("/v1/completions", self.complete, methods=["POST"], openapi_extra=body_of(CompletionRequest))
        add("/v1/models", self.list_models, methods=["GET"])
        add("/v1/models/{model_id:path}", self.show_model, methods=["GET"])
        add("/livez", self.livez, methods=["GET"], response_class=PlainTextResponse)
        add("/readyz", self.readyz, methods=["GET"], response_class=PlainTextResponse)
        add("/metrics", self.show_metrics, methods=["GET"], response_class=PlainTextResponse)
        document_models(app, ChatCompletionRequest, CompletionRequest)
        app.add_exception_handler(TidegateError, _told)
        app.add_exception_handler(HTTPException, _routing_error)
        app.add_exception_handler(Exception, _fault)
        return app

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, self._asking.chat, CHAT)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, self._asking.completion, COMPLETION)

    async def list_models(self) -> Response:
        models = self._asking.catalog().models.values()
        return JSONResponse({"object": "list", "data": [model.entry() for model in models]})

    async def show_model(self, model_id: str) -> Response:
        return JSONResponse(self._asking.catalog().model(model_id).entry())

    async def livez(self) -> Response:
        return _probe(self._live)

    async def readyz(self) -> Response:
        return _probe(self._ready)

    async def show_metrics(self) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _answer(
        self, request: Request, ask: Callable[[dict[str, Any], Exchange], Generation], shape: Shape
    ) -> Response:
        bounds = self._bounds
        body = await read_object(request, max_bytes=bounds.max_body_bytes, timeout_s=bounds.body_timeout_s)
        generation = ask(body, Exchange.of(request.scope))
        return AnswerResponse(self._answers, generation, shape, bounds.stall_timeout_s)


def _probe(check: Check) -> Response:
    trouble = check()
    return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)


async def _told(_: Request, error: Exception) -> Response:
    return error_response(error if isinstance(error, TidegateError) else InternalError())


async def _fault(_: Request, __: Exception) -> Response:
    return error_response(InternalError())


async def _routing_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    where = f"{request.method} {request.url.path[:128]}"
    if status == 404:
        return error_response(UnknownRoute(f"Unknown request URL: {where}."))
    if status == 405:
        response = error_response(MethodNotAllowed(f"Not allowed to {where}."))
        response.headers.update(getattr(error, "headers", None) or {})
        return response
    return error_response(InvalidRequest("The request could not be read.") if status < 500 else InternalError())
