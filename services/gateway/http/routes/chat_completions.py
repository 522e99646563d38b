"""POST /v1/chat/completions."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.domain.generation import PLAIN, Generation, Shown
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_events import ChatStream
from services.gateway.openai.documents import ChatDocument
from services.gateway.openai.request_builder import RequestBuilder

FORMAT = ResponseFormat(ChatStream, ChatDocument)
EXAMPLE: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": "What is a neap tide?"}],
    "stream": True,
    "service_tier": "priority",
}


class ChatCompletionRoutes:
    """Chat completions, streamed or as one document."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler) -> None:
        self._builder, self._generations = builder, generations

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/chat/completions", self.chat, ChatCompletionRequest, EXAMPLE)
        return router

    async def chat(self, request: Request) -> Response:
        """Generates the next message of a chat."""
        return await self._generations.respond(request, self._build)

    def _build(self, body: dict[str, Any], context: RequestContext) -> tuple[Generation, ResponseFormat]:
        generation = self._builder.chat(body, context)
        return generation, FORMAT if generation.shown is PLAIN else _format(generation.shown)


def _format(shown: Shown) -> ResponseFormat:
    return ResponseFormat(partial(ChatStream, shown=shown), partial(ChatDocument, shown=shown))
