"""POST /v1/embeddings."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.generation.event_stream import EventStream, GenerationHeader
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.prompts_response import Asked
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.embedding_document import EmbeddingDocument
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.request_builder import RequestBuilder

EXAMPLE: dict[str, Any] = {"model": "embed", "input": ["high tide", "low tide"]}


class EmbeddingRoutes:
    """Embeddings of texts."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler) -> None:
        self._builder, self._generations = builder, generations

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/embeddings", self.embed, EmbeddingsRequest, EXAMPLE)
        return router

    async def embed(self, request: Request) -> Response:
        """Makes a vector of each text."""
        return await self._generations.respond(request, self._build, resumable=False)

    def _build(self, body: dict[str, Any], context: RequestContext) -> Asked:
        generation, base64 = self._builder.embeddings(body, context)
        return generation, ResponseFormat(_never_streamed, partial(EmbeddingDocument, base64=base64))


def _never_streamed(header: GenerationHeader, choices: int, include_usage: bool) -> EventStream:
    raise AssertionError("the body of a request for embeddings has no field `stream`")
