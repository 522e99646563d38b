"""POST /v1/messages and POST /v1/messages/count_tokens: Anthropic's Messages API."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.anthropic import threads
from services.gateway.anthropic.message_events import MessageDocument, MessageStream
from services.gateway.anthropic.messages_request import CountTokensRequest, MessagesRequest
from services.gateway.domain.generation import Generation
from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.request_builder import RequestBuilder

EXAMPLE: dict[str, Any] = {
    "model": "chat",
    "max_tokens": 256,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "What is a neap tide?"}],
}
COUNT_EXAMPLE: dict[str, Any] = {"model": "chat", "messages": EXAMPLE["messages"]}


class MessageRoutes:
    """Messages, streamed or as one document, and how many tokens one would read."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler, bodies: BodyReader) -> None:
        self._builder, self._generations, self._bodies = builder, generations, bodies

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/messages", self.create, MessagesRequest, EXAMPLE)
        router.add_json_post("/v1/messages/count_tokens", self.count_tokens, CountTokensRequest, COUNT_EXAMPLE)
        return router

    async def create(self, request: Request) -> Response:
        """Generates the next message of a conversation."""
        return await self._generations.respond(request, self._build, resumable=False)

    async def count_tokens(self, request: Request) -> Response:
        """Counts the tokens that the model would read."""
        body, context = await self._bodies.read(request), RequestContext.of(request.scope)
        asked = self._builder.read(CountTokensRequest, body, context)
        return JSONResponse({"input_tokens": await self._builder.count_tokens(asked.chat, context)})

    def _build(self, body: dict[str, Any], context: RequestContext) -> tuple[Generation, ResponseFormat]:
        threads.check_complete(body)
        asked = self._builder.read(MessagesRequest, body, context)
        generation = self._builder.of_chat(asked.chat, "msg_", context, any_limit=True)
        response_format = ResponseFormat(
            stream=lambda header, _choices, _usage: MessageStream(header, context.request_id, asked.stops),
            document=lambda _choices: MessageDocument(generation.id, asked.stops),
        )
        return generation, response_format
