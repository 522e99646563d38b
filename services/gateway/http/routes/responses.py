"""POST /v1/responses."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.domain.generation import Generation
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.responses_events import ResponseDocument, ResponseStream
from services.gateway.openai.responses_request import ResponsesRequest

EXAMPLE: dict[str, Any] = {"model": "chat", "instructions": "Be brief.", "input": "What is a neap tide?"}


class ResponseRoutes:
    """OpenAI's Responses API. Responses are not stored, and their streams cannot be resumed."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler) -> None:
        self._builder, self._generations = builder, generations

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/responses", self.respond, ResponsesRequest, EXAMPLE)
        return router

    async def respond(self, request: Request) -> Response:
        """Generates a response to input items."""
        return await self._generations.respond(request, self._build, resumable=False)

    def _build(self, body: dict[str, Any], context: RequestContext) -> tuple[Generation, ResponseFormat]:
        generation, parsed = self._builder.response(body, context)
        echo, clock = parsed.echo(), self._builder.clock
        response_format = ResponseFormat(
            stream=lambda header, _choices, _usage: ResponseStream(header, echo, clock),
            document=lambda _choices: ResponseDocument(echo, generation.id, clock),
        )
        return generation, response_format
