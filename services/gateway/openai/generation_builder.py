"""From a validated OpenAI request to a Generation: model, class, cost, and the worker's form of prompt and sampling."""

from dataclasses import dataclass

import orjson

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog, Model
from services.gateway.domain.generation import Generation, Prompt
from services.gateway.domain.prompt import block_hashes, estimate
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.errors import ContextLengthExceeded
from tidegate.worker.v1 import worker_pb2

BYTES_PER_TOKEN_ID = 4


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """What a generation has from its caller and from the gateway, beside the body of the request.

    Args:
        request_id: 32 hex digits.
        now: seconds since 1970.
        cache_salt: see CacheSalt.
        timeout_s: how long the client may wait for the whole answer.
    """

    request_id: str
    now: float
    caller: Caller
    cache_salt: str
    timeout_s: float


def chat_generation(
    request: ChatCompletionRequest, catalog: Catalog, origin: RequestOrigin, prefix: str = "chatcmpl-"
) -> Generation:
    """Builds the generation of a chat completion, or of a request that stands for one.

    Args:
        request: the validated request.
        catalog: the models that there are.
        origin: where it comes from.
        prefix: of the answer's id; each API has its own.

    Raises:
        UnknownModel: no such model is open to the caller.
        PermissionDenied: the caller may not use this service tier.
        ContextLengthExceeded: the answer alone would not fit.
    """
    return _build(request, f"{prefix}{origin.request_id}", request.worker_prompt(), catalog, origin)


def completion_generation(request: CompletionRequest, catalog: Catalog, origin: RequestOrigin) -> Generation:
    """Builds the generation of a text completion. Raises what `chat_generation` raises."""
    return _build(request, f"cmpl-{origin.request_id}", request.worker_prompt(), catalog, origin)


def response_generation(request: ResponsesRequest, catalog: Catalog, origin: RequestOrigin) -> Generation:
    """Builds the generation of a response. Raises what `chat_generation` raises, and InvalidRequest."""
    return chat_generation(request.chat, catalog, origin, prefix="resp_")


def _build(
    request: ChatCompletionRequest | CompletionRequest,
    generation_id: str,
    prompt: Prompt,
    catalog: Catalog,
    origin: RequestOrigin,
) -> Generation:
    model = catalog.model(request.model, origin.caller)
    tier = request.service_tier or "auto"
    _check_length(request, prompt, model)
    text, size = _hashed_text(prompt)
    return Generation(
        id=generation_id,
        created=int(origin.now),
        model=model,
        prompt=prompt,
        sampling=request.sampling(),
        tier_asked=tier,
        service_class=origin.caller.service_class(tier),
        cost=estimate(size, request.token_limit, request.choices, model.context_tokens),
        block_hashes=block_hashes(text, scope=f"{model.id} {origin.cache_salt}"),
        caller=origin.caller,
        cache_salt=origin.cache_salt,
        stream=bool(request.stream),
        include_usage=request.include_usage,
        timeout_s=origin.timeout_s,
        shown=request.shown(),
    )


def _check_length(request: ChatCompletionRequest | CompletionRequest, prompt: Prompt, model: Model) -> None:
    """Refuses what certainly does not fit, before it waits in a queue. Only a worker knows the length of a text."""
    if model.context_tokens and isinstance(prompt, worker_pb2.TokenIds):
        _check_token_prompt(len(prompt.ids), request.token_limit, model)
    tokens = max(request.token_limit or 0, request.min_tokens or 0)
    if model.context_tokens and tokens >= model.context_tokens:
        named = "max_completion_tokens" if getattr(request, "max_completion_tokens", None) else "max_tokens"
        raise ContextLengthExceeded(
            f"{named} is too large: {tokens}. The maximum context length of '{model.id}' is {model.context_tokens} "
            "tokens, prompt and answer together.",
            param=named,
        )


def _check_token_prompt(length: int, limit: int | None, model: Model) -> None:
    if length + (limit or 1) > model.context_tokens:
        answer = f" and {limit} of answer" if limit else ""
        raise ContextLengthExceeded(
            f"The maximum context length of '{model.id}' is {model.context_tokens} tokens; the request has "
            f"{length} tokens of prompt{answer}.",
            param="prompt",
        )


def _hashed_text(prompt: Prompt) -> tuple[bytes, int]:
    """The prompt as bytes to hash, and its size in bytes of text."""
    match prompt:
        case str():
            text = prompt.encode()
            return text, len(text)
        case worker_pb2.TokenIds():
            return orjson.dumps(list(prompt.ids)), BYTES_PER_TOKEN_ID * len(prompt.ids)
        case _:
            # Tools come first: templates put them before the messages, and a chat that grows keeps them.
            text = prompt.tools_json + prompt.messages_json
            return text, len(text)
