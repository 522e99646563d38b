"""From a validated OpenAI request to a Generation: model, class, cost, and the worker's form of prompt and sampling."""

from dataclasses import dataclass

import orjson

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog, Model
from services.gateway.domain.generation import FieldNames, Generation, TextualPrompt
from services.gateway.domain.prompt import block_hashes, estimate
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.errors import ContextLengthExceeded, InvalidRequest
from tidegate.worker.v1 import worker_pb2

BYTES_PER_TOKEN_ID = 4
COMPLETION_FIELDS = FieldNames()
EMBEDDING_FIELDS = FieldNames("input")
RESPONSE_FIELDS = FieldNames("input", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """What a generation has from its caller and from the gateway, beside the body of the request.

    Args:
        request_id: 32 hex digits.
        now: seconds since 1970.
        cache_salt: see CacheSalt.
        timeout_s: how long the client may wait for the whole answer.
        traceparent: W3C trace context of the client; empty: it sent none.
    """

    request_id: str
    now: float
    caller: Caller
    cache_salt: str
    timeout_s: float
    traceparent: str = ""


def chat_generation(
    request: ChatCompletionRequest,
    catalog: Catalog,
    origin: RequestOrigin,
    prefix: str = "chatcmpl-",
    *,
    fields: FieldNames | None = None,
    any_limit: bool = False,
) -> Generation:
    """Builds the generation of a chat completion, or of a request that stands for one.

    Args:
        request: the validated request.
        catalog: the models that there are.
        origin: where it comes from.
        prefix: of the answer's id; each API has its own.
        fields: what the API calls them; None: what chat completions do.
        any_limit: clients must name a token limit, so one above the context is no error.

    Raises:
        UnknownModel: no such model is open to the caller.
        PermissionDenied: the caller may not use this service tier.
        ContextLengthExceeded: the token limit is above the model's context.
    """
    named = fields or FieldNames("messages", "max_completion_tokens" if request.max_completion_tokens else "max_tokens")
    prompt, sampling = request.worker_prompt(), request.sampling()
    generation_id = f"{prefix}{origin.request_id}"
    return _build(request, generation_id, prompt, sampling, catalog, origin, named, any_limit=any_limit)


def completion_generations(
    request: CompletionRequest,
    catalog: Catalog,
    origin: RequestOrigin,
    prefix: str = "cmpl-",
    fields: FieldNames = COMPLETION_FIELDS,
) -> list[Generation]:
    """Builds the generations of a text completion, one for each prompt. Raises what `chat_generation` raises.

    Each has its own id, as everything in the cluster that is queued, limited and counted by itself.
    """
    first, sampling = f"{prefix}{origin.request_id}", request.sampling()
    return [
        _build(request, f"{first}-{index}" if index else first, prompt, sampling, catalog, origin, fields)
        for index, prompt in enumerate(request.worker_prompts())
    ]


def response_generation(request: ResponsesRequest, catalog: Catalog, origin: RequestOrigin) -> Generation:
    """Builds the generation of a response. Raises what `chat_generation` raises, and InvalidRequest."""
    return chat_generation(request.chat, catalog, origin, prefix="resp_", fields=RESPONSE_FIELDS)


def embedding_generation(request: EmbeddingsRequest, catalog: Catalog, origin: RequestOrigin) -> Generation:
    """Builds the generation of a request for embeddings. All inputs are one generation, so one version embeds them.

    Raises:
        InvalidRequest: the model makes no vectors.
        UnknownModel, PermissionDenied, ContextLengthExceeded: as `chat_generation`.
    """
    model = catalog.model(request.model, origin.caller)
    if not model.embeds:
        raise InvalidRequest(
            f"The model '{model.id}' does not embed: it generates text.", param="model", code="model_does_not_embed"
        )
    inputs, sampling, tier = request.worker_inputs(), request.sampling(), request.service_tier or "auto"
    if model.context_tokens and not sampling.truncate_prompt_tokens:
        for index, each in enumerate(inputs.inputs):
            _check_token_prompt(len(each.token_ids.ids), 0, model, FieldNames(f"input[{index}]"))
    return Generation(
        id=f"embd-{origin.request_id}",
        created=int(origin.now),
        model=model,
        prompt=inputs,
        sampling=sampling,
        tier_asked=tier,
        service_class=origin.caller.service_class(tier),
        cost=estimate(sum(map(_input_size, inputs.inputs)), 0, 1, model.context_tokens),
        block_hashes=[],
        caller=origin.caller,
        cache_salt=origin.cache_salt,
        stream=False,
        include_usage=False,
        timeout_s=origin.timeout_s,
        fields=EMBEDDING_FIELDS,
        traceparent=origin.traceparent,
    )


def _input_size(given: worker_pb2.Input) -> int:
    """Its size in bytes of text."""
    return len(given.text.encode()) + BYTES_PER_TOKEN_ID * len(given.token_ids.ids)


def _build(
    request: ChatCompletionRequest | CompletionRequest,
    generation_id: str,
    prompt: TextualPrompt,
    sampling: worker_pb2.Sampling,
    catalog: Catalog,
    origin: RequestOrigin,
    fields: FieldNames,
    *,
    any_limit: bool = False,
) -> Generation:
    model = catalog.model(request.model, origin.caller)
    if model.embeds:
        raise InvalidRequest(
            f"The model '{model.id}' embeds: it generates no text. Ask it at /v1/embeddings.",
            param="model",
            code="model_does_not_generate",
        )
    tier = request.service_tier or "auto"
    _check_length(request, prompt, sampling, model, fields, any_limit=any_limit or request.limit_is_default)
    text, size = _hashed_text(prompt)
    return Generation(
        id=generation_id,
        created=int(origin.now),
        model=model,
        prompt=prompt,
        sampling=sampling,
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
        fields=fields,
        traceparent=origin.traceparent,
    )


def _check_length(
    request: ChatCompletionRequest | CompletionRequest,
    prompt: TextualPrompt,
    sampling: worker_pb2.Sampling,
    model: Model,
    fields: FieldNames,
    *,
    any_limit: bool,
) -> None:
    """Refuses what certainly does not fit, before it waits in a queue. Only a worker knows the length of a text."""
    context = model.context_tokens
    if not context:
        return
    limit, least = request.token_limit, request.min_tokens or 0
    if isinstance(prompt, worker_pb2.TokenIds) and not sampling.truncate_prompt_tokens:
        _check_token_prompt(len(prompt.ids), limit, model, fields)
    if limit and limit > context and not any_limit:
        raise _too_large(fields.limit, limit, model)
    if least >= context:
        raise _too_large("min_tokens", least, model)


def _check_token_prompt(length: int, limit: int | None, model: Model, fields: FieldNames) -> None:
    """Refuses a prompt that leaves no room for a token. With a limit of 0, it may fill the context."""
    if length + (0 if limit == 0 else 1) > model.context_tokens:
        raise ContextLengthExceeded(
            f"The maximum context length of '{model.id}' is {model.context_tokens} tokens; the request has "
            f"{length} tokens of prompt.",
            param=fields.prompt,
        )


def _too_large(name: str, tokens: int, model: Model) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"{name} is too large: {tokens}. The maximum context length of '{model.id}' is {model.context_tokens} tokens, "
        "prompt and answer together.",
        param=name,
    )


def _hashed_text(prompt: TextualPrompt) -> tuple[bytes, int]:
    """The prompt as bytes to hash, and its size in bytes of text."""
    match prompt:
        case str():
            text = prompt.encode()
            return text, len(text)
        case worker_pb2.TokenIds():
            return orjson.dumps(list(prompt.ids)), BYTES_PER_TOKEN_ID * len(prompt.ids)
        case _:
            # Tools come first: templates put them before the messages, and a chat that grows keeps them.
            text = prompt.tools_json + prompt.documents_json + prompt.messages_json
            return text, len(text)
