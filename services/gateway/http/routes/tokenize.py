"""POST /tokenize and /detokenize, and GET /tokenizer_info, as vLLM's clients know them; all also below /v1."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.tokenize_request import DetokenizeRequest, TokenizeRequest

TOKENIZE_EXAMPLE: dict[str, Any] = {
    "model": "chat",
    "messages": [{"role": "user", "content": "What is a neap tide?"}],
}
DETOKENIZE_EXAMPLE: dict[str, Any] = {"model": "chat", "tokens": [1, 2, 3]}


class TokenizeRoutes:
    """Text to tokens and back. A worker of the model does the work, for it has the tokenizer."""

    def __init__(self, builder: RequestBuilder, bodies: BodyReader) -> None:
        self._builder, self._bodies = builder, bodies

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        for prefix in ("", "/v1"):
            router.add_json_post(f"{prefix}/tokenize", self.tokenize, TokenizeRequest, TOKENIZE_EXAMPLE)
            router.add_json_post(f"{prefix}/detokenize", self.detokenize, DetokenizeRequest, DETOKENIZE_EXAMPLE)
            router.add_api_route(f"{prefix}/tokenizer_info", self.tokenizer_info, methods=["GET"])
        return router

    async def tokenize(self, request: Request) -> Response:
        """Returns the token ids of a prompt, or of a chat as the model's template renders it."""
        body = await self._bodies.read(request)
        model, tokens, texts = await self._builder.tokenize(body, RequestContext.of(request.scope))
        counted = {"count": len(tokens), "max_model_len": model.context_tokens, "tokens": tokens, "token_strs": texts}
        return JSONResponse(counted)

    async def detokenize(self, request: Request) -> Response:
        """Returns the text of token ids."""
        body = await self._bodies.read(request)
        return JSONResponse({"prompt": await self._builder.detokenize(body, RequestContext.of(request.scope))})

    async def tokenizer_info(self, request: Request, model: str | None = None) -> Response:
        """Shows the tokenizer's configuration and the chat template, to admin keys only."""
        return JSONResponse(await self._builder.tokenizer_info(model, RequestContext.of(request.scope)))
