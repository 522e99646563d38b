"""OpenAI's REST API over answers and catalog."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.domain.generation import Generation
from services.gateway.http import examples
from services.gateway.http.connection.body import read_object
from services.gateway.http.connection.generation_response import GenerationResponse, ResponseFormat
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.idempotency import Idempotency
from services.gateway.http.idempotency.key import IdempotentRequest
from services.gateway.http.middleware.errors import error_response
from services.gateway.http.middleware.fast_routes import Endpoint
from services.gateway.http.openapi import body_of
from services.gateway.metrics import Metrics
from services.gateway.openai import validation
from services.gateway.openai.chat import ChatCompletionRequest
from services.gateway.openai.completions import CompletionRequest
from services.gateway.openai.documents import ChatDocument, CompletionDocument
from services.gateway.openai.embeddings import EmbeddingsRequest
from services.gateway.openai.request_builder import RequestBuilder, identified
from services.gateway.openai.response_events import ResponseDocument, ResponseStream
from services.gateway.openai.responses import ResponsesRequest
from services.gateway.openai.sse import ChatStream, CompletionStream
from services.gateway.openai.tokens import DetokenizeRequest, TokenizeRequest
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.response_cache.directive import HEADER, CacheDirective
from services.gateway.resume import event_ids
from services.gateway.resume.resuming import Resuming, Resumption
from services.shared.errors import InternalError, InvalidRequest, MethodNotAllowed, TidegateError, UnknownRoute
from services.shared.telemetry import Check

CHAT = ResponseFormat(ChatStream, ChatDocument)
COMPLETION = ResponseFormat(CompletionStream, CompletionDocument)
_BODIES = {
    "/v1/chat/completions": body_of(ChatCompletionRequest, examples.CHAT),
    "/v1/completions": body_of(CompletionRequest, examples.COMPLETION),
    "/v1/responses": body_of(ResponsesRequest, examples.RESPONSE),
    "/v1/tokenize": body_of(TokenizeRequest, examples.TOKENIZE),
    "/v1/detokenize": body_of(DetokenizeRequest, examples.DETOKENIZE),
    "/v1/embeddings": body_of(EmbeddingsRequest, examples.EMBEDDING),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    max_body_bytes: int
    body_timeout_s: float
    stall_timeout_s: float


class InferenceRoutes:
    def __init__(
        self,
        asking: RequestBuilder,
        answers: CachedGenerations,
        idempotency: Idempotency,
        resuming: Resuming,
        metrics: Metrics,
        bounds: Bounds,
        live: Check,
        ready: Check,
    ) -> None:
        self._asking, self._answers, self._metrics, self._bounds = asking, answers, metrics, bounds
        self._idempotency, self._resuming = idempotency, resuming
        self._live, self._ready = live, ready

    def app(self) -> FastAPI:
        # Its own pages load scripts from elsewhere; console/static/docs.html shows the document instead.
        app = FastAPI(title="Tidegate", docs_url=None, redoc_url=None, redirect_slashes=False)
        add = app.add_api_route
        for path, endpoint in self.endpoints().items():
            add(path, endpoint, methods=["POST"], openapi_extra=_BODIES[path])
        add("/v1/models", self.list_models, methods=["GET"])
        add("/v1/models/{model_id:path}", self.show_model, methods=["GET"])
        add("/livez", self.livez, methods=["GET"], response_class=PlainTextResponse)
        add("/readyz", self.readyz, methods=["GET"], response_class=PlainTextResponse)
        add("/metrics", self.show_metrics, methods=["GET"], response_class=PlainTextResponse)
        app.add_exception_handler(TidegateError, _told)
        app.add_exception_handler(HTTPException, _routing_error)
        app.add_exception_handler(RequestValidationError, _wrong_query)
        app.add_exception_handler(Exception, _fault)
        return app

    def endpoints(self) -> dict[str, Endpoint]:
        """What has a body, by path; all of it is POST."""
        return {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.complete,
            "/v1/responses": self.respond,
            "/v1/tokenize": self.tokenize,
            "/v1/detokenize": self.detokenize,
            "/v1/embeddings": self.embed,
        }

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, self._asking.chat, CHAT)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, self._asking.completion, COMPLETION)

    async def respond(self, request: Request) -> Response:
        body = await self._generating(request)
        return self._once(request, body, lambda asked: self._respond(body, RequestContext.of(request.scope), asked))

    def _respond(self, body: dict[str, Any], exchange: RequestContext, asked: IdempotentRequest | None) -> Response:
        if asked and asked.after:
            raise InvalidRequest("Streams of the Responses API cannot be resumed.", param=event_ids.HEADER)
        wanted = validation.check(ResponsesRequest, body)
        generation, echo = self._asking.response(wanted, exchange), wanted.echo()
        shape = ResponseFormat(
            stream=lambda head, _choices, _usage: ResponseStream(head, echo),
            whole=lambda _choices: ResponseDocument(echo, generation.id),
        )
        return self._response(generation, shape)

    async def tokenize(self, request: Request) -> Response:
        model, tokens = await self._asking.tokenize(await self._body(request), RequestContext.of(request.scope))
        return JSONResponse({"count": len(tokens), "max_model_len": model.context_tokens, "tokens": tokens})

    async def detokenize(self, request: Request) -> Response:
        text = await self._asking.detokenize(await self._body(request), RequestContext.of(request.scope))
        return JSONResponse({"prompt": text})

    async def embed(self, request: Request) -> Response:
        self._asking.embed(await self._body(request), RequestContext.of(request.scope))

    async def list_models(self, request: Request) -> Response:
        models = self._asking.catalog().open_to(identified(RequestContext.of(request.scope)))
        return JSONResponse({"object": "list", "data": [model.entry() for model in models]})

    async def show_model(self, model_id: str, request: Request) -> Response:
        caller = identified(RequestContext.of(request.scope))
        return JSONResponse(self._asking.catalog().model(model_id, caller).entry())

    async def livez(self) -> Response:
        return _probe(self._live)

    async def readyz(self) -> Response:
        return _probe(self._ready)

    async def show_metrics(self) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _answer(
        self, request: Request, ask: Callable[[dict[str, Any], RequestContext], Generation], shape: ResponseFormat
    ) -> Response:
        body = await self._generating(request)

        def make(asked: IdempotentRequest | None) -> Response:
            generation = ask(body, RequestContext.of(request.scope))
            resumable = self._resuming.of(generation, asked.request, asked.after) if asked else None
            return self._response(generation, shape, resumable)

        return self._once(request, body, make)

    def _once(
        self, request: Request, body: dict[str, Any], make: Callable[[IdempotentRequest | None], Response]
    ) -> Response:
        """The response that `make` makes, or the one that it made when the same was asked before."""
        asked = IdempotentRequest.by(request, body)
        return self._idempotency.respond(request, asked, lambda: make(asked)) if asked else make(None)

    async def _generating(self, request: Request) -> dict[str, Any]:
        """The body of a request that generates, with its wishes noted."""
        exchange = RequestContext.of(request.scope)
        exchange.wish = CacheDirective.of(exchange.header(HEADER))
        return await self._body(request)

    async def _body(self, request: Request) -> dict[str, Any]:
        bounds = self._bounds
        return await read_object(request, max_bytes=bounds.max_body_bytes, timeout_s=bounds.body_timeout_s)

    def _response(self, generation: Generation, shape: ResponseFormat, resumable: Resumption | None = None) -> Response:
        return GenerationResponse(self._answers, generation, shape, self._bounds.stall_timeout_s, resumable)


def _probe(check: Check) -> Response:
    trouble = check()
    return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)


async def _told(_: Request, error: Exception) -> Response:
    return error_response(error if isinstance(error, TidegateError) else InternalError())


async def _wrong_query(_: Request, error: Exception) -> Response:
    """Bodies are validated elsewhere: what FastAPI finds is in the path or behind the question mark."""
    problem = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "is wrong"}
    param = str(problem["loc"][-1])[:64] if problem["loc"] else None
    message = f"Invalid value for '{param}': {problem['msg']}."
    return error_response(InvalidRequest(message, param=param, code="invalid_value"))


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
