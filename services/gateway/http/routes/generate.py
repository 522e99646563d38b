"""POST /inference/v1/generate, as vLLM has it: token ids in, token ids out."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.domain.generation import FieldNames
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.prompts_response import Asked
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.token_events import TokenDocument, TokenStream
from services.gateway.openai.token_request import GenerateRequest

EXAMPLE: dict[str, Any] = {"model": "chat", "token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 16, "seed": 7}}
FIELDS = FieldNames("token_ids", "sampling_params.max_tokens")


class GenerateRoutes:
    """Generates for callers that have a tokenizer of their own."""

    def __init__(self, builder: RequestBuilder, generations: GenerationHandler) -> None:
        self._builder, self._generations = builder, generations

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_json_post("/inference/v1/generate", self.generate, GenerateRequest, EXAMPLE)
        return router

    async def generate(self, request: Request) -> Response:
        """Generates the tokens that follow a prompt of tokens."""
        return await self._generations.respond(request, self._build, resumable=False)

    def _build(self, body: dict[str, Any], context: RequestContext) -> Asked:
        asked = self._builder.read(GenerateRequest, body, context)
        completion = asked.completion(self._builder.model(asked.model, context).id)
        (generation,) = self._builder.of_completion(completion, "generate-tokens-", context, FIELDS)
        return generation, ResponseFormat(
            stream=lambda header, _choices, _usage: TokenStream(header, generation, shows_text=asked.shows_text),
            document=lambda _choices: TokenDocument(generation, shows_text=asked.shows_text),
        )
