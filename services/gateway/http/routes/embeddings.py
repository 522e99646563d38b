"""POST /v1/embeddings."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.request_builder import RequestBuilder

EXAMPLE: dict[str, Any] = {"model": "chat", "input": ["high tide", "low tide"]}


class EmbeddingRoutes:
    """Embeddings. Every model here generates text, so each request is validated and then refused."""

    def __init__(self, builder: RequestBuilder, bodies: BodyReader) -> None:
        self._builder, self._bodies = builder, bodies

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/v1/embeddings", self.embed, EmbeddingsRequest, EXAMPLE)
        return router

    async def embed(self, request: Request) -> Response:
        """Validates the request, and answers that the model does not embed."""
        self._builder.embed(await self._bodies.read(request), RequestContext.of(request.scope))
