"""Bodies as clients write them, changed: each is taken or refused. Without a cluster, so that there may be many."""

import json
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from services.gateway.anthropic.messages_request import CountTokensRequest, MessagesRequest
from services.gateway.openai import strict_json, validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.conversation_requests import AddItemsRequest, CreateConversationRequest
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.fields import Request
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.tokenize_request import DetokenizeRequest, TokenizeRequest
from services.shared.errors import TidegateError
from tests.robustness.inputs.client_bodies import bodies, changed

MODELS: dict[str, type[Request]] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/conversations": CreateConversationRequest,
    f"/v1/conversations/conv_{'0' * 32}/items": AddItemsRequest,
    "/v1/messages": MessagesRequest,
    "/v1/messages/count_tokens": CountTokensRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
    "/v1/embeddings": EmbeddingsRequest,
}
TRIES = 300


@pytest.mark.parametrize("path", MODELS)
def test_a_changed_body_is_taken_or_refused(path: str) -> None:
    random = Random(path)
    for body in bodies("tide")[path]:
        for _ in range(TRIES // len(bodies("tide")[path])):
            _receive(MODELS[path], json.dumps(changed(body, random)).encode())


def _receive(model: type[Request], body: bytes) -> None:
    """Does what a gateway does with a body before a worker sees it. Any other error than ours is a 500."""
    with suppress(TidegateError):
        request: Any = validation.accept(model, strict_json.parse_object(body, "the body"))[0]
        if isinstance(request, ResponsesRequest | MessagesRequest):
            request = request.chat
        if isinstance(request, ChatCompletionRequest):
            request.worker_prompt()
            request.sampling()
        if isinstance(request, CompletionRequest):
            request.worker_prompts()
            request.sampling()
