"""POST /v1/completions."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.domain.generation import PLAIN, Generation
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.prompts_response import Asked
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.completion_events import CompletionStream
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.documents import CompletionDocument
from services.gateway.openai.request_builder import RequestBuilder

FORMAT = ResponseFormat(CompletionStream, CompletionDocument)
EXAMPLE: dict[str, Any] = {"model": "chat", "prompt": "The tide comes in", "max_tokens": 32, "temperature": 0}


class CompletionRoutes:
    """Completions of a prompt, streamed or as one document."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler) -> None:
        self._builder, self._generations = builder, generations

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/completions", self.complete, CompletionRequest, EXAMPLE)
        return router

    async def complete(self, request: Request) -> Response:
        """Generates the text that follows a prompt, or each of several."""
        return await self._generations.respond(request, self._build)

    def _build(self, body: dict[str, Any], context: RequestContext) -> list[Asked]:
        generations = self._builder.completions(body, context)
        return [(generation, _format(generation, index)) for index, generation in enumerate(generations)]


def _format(generation: Generation, index: int) -> ResponseFormat:
    """Returns how the answers to a prompt are shown. index: of the prompt."""
    shown = generation.shown
    if shown is PLAIN and not index:
        return FORMAT
    first = index * generation.sampling.n
    return ResponseFormat(partial(CompletionStream, shown=shown, first=first), partial(CompletionDocument, shown=shown))
