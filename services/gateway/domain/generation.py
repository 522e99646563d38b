"""What is asked of the cluster: the one form that REST and gRPC requests become once they are validated."""

from dataclasses import dataclass

import orjson

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog, Model
from services.gateway.domain.cost import Cost, estimate
from services.gateway.domain.prompt_blocks import BLOCK_TOKENS, block_hashes
from services.gateway.openai.chat import ChatCompletionRequest
from services.gateway.openai.completions import CompletionRequest
from services.gateway.openai.responses import ResponsesRequest
from services.shared.classes import ServiceClass
from services.shared.errors import ContextLengthExceeded
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

Prompt = worker_pb2.ChatPrompt | worker_pb2.TokenIds | str


@dataclass(frozen=True, slots=True)
class Generation:
    """`id` is minted here and the only name used inside the cluster; clients' own ids never are.

    tier_asked: as the client said it. cache_salt: see CacheSalt.
    """

    id: str
    created: int
    model: Model
    prompt: Prompt
    sampling: worker_pb2.Sampling
    tier_asked: str
    service_class: ServiceClass
    cost: Cost
    block_hashes: list[int]
    caller: Caller
    cache_salt: str
    stream: bool
    include_usage: bool
    timeout_s: float

    def submit(self, attempt: int, *, timeout_s: float) -> router_pb2.Submit:
        return router_pb2.Submit(
            request_id=self.id,
            attempt=attempt,
            pool=self.model.pool,
            service_class=self.service_class.proto,
            tenant=self.caller.tenant,
            weight=self.caller.weight,
            limits=self.caller.router_limits(),
            cost=router_pb2.Cost(prompt_tokens=self.cost.prompt_tokens, completion_tokens=self.cost.completion_tokens),
            timeout_ms=max(1, int(timeout_s * 1000)),
            block_hashes=self.block_hashes,
            block_tokens=BLOCK_TOKENS,
            adapter=self.model.adapter,
        )

    def start(self, stream_id: int, grant: router_pb2.Grant, *, timeout_s: float, credit: int) -> worker_pb2.Start:
        start = worker_pb2.Start(
            stream_id=stream_id,
            request_id=self.id,
            attempt=grant.attempt,
            model_version=grant.model_version,
            adapter=self.model.adapter,
            sampling=self.sampling,
            timeout_ms=max(1, int(timeout_s * 1000)),
            credit_tokens=credit,
            priority=int(self.service_class),
            cache_salt=self.cache_salt,
        )
        match self.prompt:
            case str():
                start.text = self.prompt
            case worker_pb2.TokenIds():
                start.token_ids.CopyFrom(self.prompt)
            case _:
                start.chat.CopyFrom(self.prompt)
        return start


@dataclass(frozen=True, slots=True)
class Mint:
    """What the gateway adds to a request: `request_id` is 32 hex digits, `now` is seconds since 1970."""

    request_id: str
    now: float
    caller: Caller
    cache_salt: str
    timeout_s: float


def of_chat(request: ChatCompletionRequest, catalog: Catalog, mint: Mint) -> Generation:
    """Raises UnknownModel, PermissionDenied, ContextLengthExceeded."""
    prompt = request.worker_prompt()
    return _build(request, f"chatcmpl-{mint.request_id}", prompt, catalog, mint)


def of_completion(request: CompletionRequest, catalog: Catalog, mint: Mint) -> Generation:
    """Raises UnknownModel, PermissionDenied, ContextLengthExceeded."""
    prompt = request.worker_prompt()
    return _build(request, f"cmpl-{mint.request_id}", prompt, catalog, mint)


def of_response(request: ResponsesRequest, catalog: Catalog, mint: Mint) -> Generation:
    """Raises InvalidRequest, UnknownModel, PermissionDenied, ContextLengthExceeded."""
    chat = request.chat
    return _build(chat, f"resp_{mint.request_id}", chat.worker_prompt(), catalog, mint)


def _build(
    request: ChatCompletionRequest | CompletionRequest, name: str, prompt: Prompt, catalog: Catalog, mint: Mint
) -> Generation:
    model = catalog.model(request.model, mint.caller)
    tier = request.service_tier or "auto"
    _check_room(request, model)
    text, size = _weigh(prompt)
    return Generation(
        id=name,
        created=int(mint.now),
        model=model,
        prompt=prompt,
        sampling=request.sampling(),
        tier_asked=tier,
        service_class=mint.caller.service_class(tier),
        cost=estimate(size, request.token_limit, request.choices, model.context_tokens),
        block_hashes=block_hashes(text, scope=f"{model.id} {mint.cache_salt}"),
        caller=mint.caller,
        cache_salt=mint.cache_salt,
        stream=bool(request.stream),
        include_usage=request.include_usage,
        timeout_s=mint.timeout_s,
    )


def _check_room(request: ChatCompletionRequest | CompletionRequest, model: Model) -> None:
    wanted = max(request.token_limit or 0, request.min_tokens or 0)
    if model.context_tokens and wanted >= model.context_tokens:
        named = "max_completion_tokens" if getattr(request, "max_completion_tokens", None) else "max_tokens"
        raise ContextLengthExceeded(
            f"{named} is too large: {wanted}. The model '{model.id}' holds {model.context_tokens} tokens, "
            "prompt and answer together.",
            param=named,
        )


def _weigh(prompt: Prompt) -> tuple[bytes, int]:
    """The prompt as bytes to hash, and its size in bytes of text (4 for each token id)."""
    match prompt:
        case str():
            text = prompt.encode()
            return text, len(text)
        case worker_pb2.TokenIds():
            return orjson.dumps(list(prompt.ids)), 4 * len(prompt.ids)
        case _:
            # Tools first: templates put them before the messages, and a longer chat keeps them.
            text = prompt.tools_json + prompt.messages_json
            return text, len(text)
