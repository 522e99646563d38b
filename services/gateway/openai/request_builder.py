"""From a decoded request to a Generation: the one way in, for REST and gRPC."""

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog, Model
from services.gateway.domain.generation import Generation
from services.gateway.domain.secrets import CacheSalt
from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.embeddings_request import EmbeddingsRequest, does_not_embed
from services.gateway.openai.generation_builder import (
    RequestOrigin,
    chat_generation,
    completion_generation,
    response_generation,
)
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.tokenize_request import DetokenizeRequest, TokenizeRequest
from services.gateway.upstream.tokenizer_client import TokenizerClient
from services.shared.clock import Clock
from services.shared.errors import StoreUnavailable, Unauthenticated


class Requester(Protocol):
    @property
    def request_id(self) -> str: ...
    @property
    def caller(self) -> Caller | None:
        """None: nobody was let in."""
        ...


class RequestBuilder:
    def __init__(
        self,
        latest: Callable[[], Catalog | None],
        clock: Clock,
        timeout_s: float,
        cache_salt: CacheSalt,
        tokenizing: TokenizerClient,
    ) -> None:
        """latest: the catalog as last heard from a router; None when none was ever heard."""
        self._latest, self._clock, self._timeout_s = latest, clock, timeout_s
        self._cache_salt, self._tokenizing = cache_salt, tokenizing

    def catalog(self) -> Catalog:
        """Raises StoreUnavailable while no router has said what there is."""
        if (catalog := self._latest()) is None:
            raise StoreUnavailable("The gateway has no connection to a router yet.", retry_after_s=1.0)
        return catalog

    def chat(self, document: dict[str, Any], asker: Requester, timeout_s: float | None = None) -> Generation:
        """Raises InvalidRequest and its like, PermissionDenied, QuotaExceeded, StoreUnavailable."""
        request = validation.check(ChatCompletionRequest, document)
        return chat_generation(request, self.catalog(), self._origin(asker, timeout_s))

    def completion(self, document: dict[str, Any], asker: Requester, timeout_s: float | None = None) -> Generation:
        """Raises InvalidRequest and its like, PermissionDenied, QuotaExceeded, StoreUnavailable."""
        request = validation.check(CompletionRequest, document)
        return completion_generation(request, self.catalog(), self._origin(asker, timeout_s))

    async def tokenize(self, document: dict[str, Any], asker: Requester) -> tuple[Model, list[int]]:
        """Raises InvalidRequest and its like, NoWorkers, Overloaded."""
        request = validation.check(TokenizeRequest, document)
        model = self.model(request.model, asker)
        return model, await self._tokenizing.tokenize(model, self.catalog(), request.worker_request())

    async def detokenize(self, document: dict[str, Any], asker: Requester) -> str:
        """Raises InvalidRequest and its like, NoWorkers, Overloaded."""
        request = validation.check(DetokenizeRequest, document)
        model = self.model(request.model, asker)
        return await self._tokenizing.detokenize(model, self.catalog(), request.tokens)

    def embed(self, document: dict[str, Any], asker: Requester) -> NoReturn:
        """Raises InvalidRequest and its like."""
        request = validation.check(EmbeddingsRequest, document)
        raise does_not_embed(self.model(request.model, asker).id)

    def response(self, request: ResponsesRequest, asker: Requester) -> Generation:
        """Raises InvalidRequest and its like, PermissionDenied, QuotaExceeded, StoreUnavailable."""
        return response_generation(request, self.catalog(), self._origin(asker, None))

    def model(self, name: str, asker: Requester) -> Model:
        """Raises UnknownModel, StoreUnavailable."""
        return self.catalog().model(name, identified(asker))

    def _origin(self, asker: Requester, timeout_s: float | None) -> RequestOrigin:
        caller, now = identified(asker), self._clock.wall()
        caller.check_budget(now)
        timeout_s = min(timeout_s or self._timeout_s, self._timeout_s)
        return RequestOrigin(asker.request_id, now, caller, self._cache_salt.of(caller.tenant), timeout_s)


def identified(asker: Requester) -> Caller:
    """Raises Unauthenticated."""
    if asker.caller is None:
        raise Unauthenticated("You didn't provide an API key.")
    return asker.caller
