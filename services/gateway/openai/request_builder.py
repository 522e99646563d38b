"""From a decoded request body to what the cluster does: the one way in, for REST and gRPC."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Catalog, Model
from services.gateway.domain.generation import FieldNames, Generation
from services.gateway.domain.secrets import CacheSalt
from services.gateway.openai.canary_header import HEADER as CANARY_HEADER
from services.gateway.openai.canary_header import CanaryTenants
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.encrypted_reasoning import ReasoningSeal
from services.gateway.openai.fields import Request
from services.gateway.openai.generation_builder import (
    RequestOrigin,
    chat_generation,
    completion_generations,
    embedding_generation,
    response_generation,
)
from services.gateway.openai.ignored_fields import also_ignored
from services.gateway.openai.request_reader import Asker, RequestReader
from services.gateway.openai.responses_events import Shape
from services.gateway.openai.responses_input import Item, opened
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.tokenize_request import DetokenizeRequest, TokenizeRequest
from services.gateway.upstream.tokenizer_client import TokenizerClient
from services.shared.clock import Clock
from services.shared.errors import InvalidRequest, StoreUnavailable, Unauthenticated
from tidegate.worker.v1 import worker_pb2

R = TypeVar("R", bound=Request)


class Requester(Asker, Protocol):
    """A request as far as building needs it: over REST, over gRPC, or a line of a batch."""

    @property
    def request_id(self) -> str:
        """32 hexadecimal digits, made by this gateway."""
        ...

    @property
    def caller(self) -> Caller | None:
        """Who makes the request; None if no key was checked."""
        ...

    @property
    def wants_canary(self) -> bool:
        """Whether it asks for the version that is on trial (canary_header.py)."""
        ...

    @property
    def traceparent(self) -> str:
        """W3C trace context that came with it; empty: none did."""
        ...


class RequestBuilder:
    """Validates request bodies, and makes generations of them.

    Attributes:
        clock: time of each request.
    """

    def __init__(
        self,
        latest: Callable[[], Catalog | None],
        clock: Clock,
        timeout_s: float,
        cache_salt: CacheSalt,
        tokenizer: TokenizerClient,
        reader: RequestReader,
        seal: ReasoningSeal,
        canary_tenants: CanaryTenants,
    ) -> None:
        """Makes the builder.

        Args:
            latest: returns the last catalog that a router sent; None before the first.
            clock: time of each request.
            timeout_s: seconds that a generation may take at most.
            cache_salt: separates the prefix caches of tenants.
            tokenizer: asks workers to tokenize.
            reader: validates bodies.
            seal: opens and seals the reasoning that clients keep.
            canary_tenants: who may ask for a version that is on trial.
        """
        self._latest, self.clock, self._timeout_s = latest, clock, timeout_s
        self._cache_salt, self._tokenizer, self._reader, self._seal = cache_salt, tokenizer, reader, seal
        self._canary_tenants = canary_tenants

    def catalog(self) -> Catalog:
        """Returns the last catalog that a router sent.

        Raises:
            StoreUnavailable: no router has sent one yet.
        """
        if (catalog := self._latest()) is None:
            raise StoreUnavailable("The gateway has no connection to a router yet.", retry_after_s=1.0)
        return catalog

    def chat(self, document: dict[str, Any], requester: Requester, timeout_s: float | None = None) -> Generation:
        """Builds the generation of a chat completion.

        Args:
            document: the decoded body.
            requester: whose request it is.
            timeout_s: seconds that the client waits at most; None: as long as the gateway allows.

        Raises:
            InvalidRequest: the body is wrong.
            UnknownModel: there is no such model for this caller.
            PermissionDenied: the caller may not use the service tier.
            QuotaExceeded: the caller's budget is spent.
            StoreUnavailable: no router has sent a catalog yet.
        """
        request = self._reader.read(ChatCompletionRequest, document, requester)
        return self._pinned(chat_generation(request, self.catalog(), self._origin(requester, timeout_s)), requester)

    def read(self, kind: type[R], document: dict[str, Any], requester: Requester) -> R:
        """Returns a body as its model, for APIs that stand on chat completions. Raises InvalidRequest."""
        return self._reader.read(kind, document, requester)

    def of_chat(
        self, request: ChatCompletionRequest, prefix: str, requester: Requester, *, any_limit: bool = False
    ) -> Generation:
        """Builds the generation of a request that stands for a chat completion. Its errors are those of `chat`.

        Args:
            request: the chat completion.
            prefix: of the answer's id.
            requester: whose request it is.
            any_limit: see `chat_generation`.
        """
        origin = self._origin(requester, None)
        generation = chat_generation(request, self.catalog(), origin, prefix, any_limit=any_limit)
        return self._pinned(generation, requester)

    async def count_tokens(self, request: ChatCompletionRequest, requester: Requester) -> int:
        """Returns how many tokens the model would read. Its errors are those of `tokenize`."""
        model = self.model(request.model, requester)
        prompt = worker_pb2.TokenizeRequest(chat=request.worker_prompt())
        return len((await self._tokenizer.tokenize(model, self.catalog(), prompt)).token_ids)

    def completions(
        self, document: dict[str, Any], requester: Requester, timeout_s: float | None = None
    ) -> list[Generation]:
        """Builds the generations of a completion, one for each prompt. Arguments and errors are those of `chat`."""
        request = self._reader.read(CompletionRequest, document, requester)
        generations = completion_generations(request, self.catalog(), self._origin(requester, timeout_s))
        return [self._pinned(generation, requester) for generation in generations]

    def of_completion(
        self, request: CompletionRequest, prefix: str, requester: Requester, fields: FieldNames
    ) -> list[Generation]:
        """Builds the generations of a request that stands for a completion. Its errors are those of `chat`.

        Args:
            request: the completion.
            prefix: of the answer's id.
            requester: whose request it is.
            fields: what the API calls them.
        """
        origin = self._origin(requester, None)
        generations = completion_generations(request, self.catalog(), origin, prefix, fields)
        return [self._pinned(generation, requester) for generation in generations]

    async def tokenize(
        self, document: dict[str, Any], requester: Requester
    ) -> tuple[Model, list[int], list[str] | None]:
        """Returns the model, the token ids of a prompt or a chat, and the tokens as texts if the request asks for them.

        Raises:
            InvalidRequest: the body is wrong.
            NoWorkers: no worker serves the model.
            Overloaded: the worker cannot take the request now.
        """
        request = self._reader.read(TokenizeRequest, document, requester)
        model = self.model(request.model, requester)
        reply = await self._tokenizer.tokenize(model, self.catalog(), request.worker_request())
        return model, list(reply.token_ids), list(reply.token_strs) if request.return_token_strs else None

    async def detokenize(self, document: dict[str, Any], requester: Requester) -> str:
        """Returns the text of token ids. Its errors are those of `tokenize`."""
        request = self._reader.read(DetokenizeRequest, document, requester)
        model = self.model(request.model, requester)
        return await self._tokenizer.detokenize(model, self.catalog(), request.tokens)

    async def tokenizer_info(self, model: str | None, requester: Requester) -> dict[str, Any]:
        """Returns the configuration of a model's tokenizer.

        Args:
            model: see `model`.
            requester: whose request it is.

        Raises:
            InvalidRequest: no model is named, and there are several.
            UnknownModel: there is no such model for this caller.
            NoWorkers: no worker serves the model.
        """
        return await self._tokenizer.describe(self.model(model, requester), self.catalog())

    def embeddings(
        self, document: dict[str, Any], requester: Requester, timeout_s: float | None = None
    ) -> tuple[Generation, bool]:
        """Builds the generation of a request for embeddings, and returns whether it asks for base64.

        Arguments and errors are those of `chat`.
        """
        request = self._reader.read(EmbeddingsRequest, document, requester)
        generation = embedding_generation(request, self.catalog(), self._origin(requester, timeout_s))
        return self._pinned(generation, requester), request.base64

    def read_response(self, document: dict[str, Any], requester: Requester) -> ResponsesRequest:
        """Returns the request for a response, with the reasoning that came encrypted. Raises InvalidRequest."""
        request = self._reader.read(ResponsesRequest, document, requester)
        if isinstance(request.input, str):
            return request
        return request.model_copy(update={"input": self.open_items(request.input, "input", requester)})

    def open_items(self, items: Sequence[Item | None], place: str, requester: Requester) -> list[Item | None]:
        """Returns items with the reasoning that came encrypted. place: the field that has them."""
        tenant = identified(requester).tenant
        found, unread = opened(items, place, lambda content: self._seal.open(content, tenant))
        if unread:
            requester.ignored = also_ignored(requester.ignored, unread)
        return found

    def response(
        self, request: ResponsesRequest, requester: Requester, *, stored: bool = False
    ) -> tuple[Generation, Shape]:
        """Builds the generation of a response, and returns how the response looks. Its errors are those of `chat`.

        Args:
            request: with the whole conversation as its input.
            requester: whose request it is.
            stored: the response is kept.
        """
        tenant = identified(requester).tenant
        seal = (lambda text: self._seal.seal(text, tenant)) if request.encrypts_reasoning else None
        generation = response_generation(request, self.catalog(), self._origin(requester, None))
        generation = self._pinned(generation, requester)
        return generation, Shape(request.echo(stored=stored), request.toolbox, seal)

    def model(self, name: str | None, requester: Requester) -> Model:
        """Returns a model by name.

        Args:
            name: its name; None for the only one that the caller may use.
            requester: whose request it is.

        Raises:
            InvalidRequest: no model is named, and there are several.
            UnknownModel: there is no such model for this caller.
            StoreUnavailable: no router has sent a catalog yet.
        """
        caller = identified(requester)
        if name is not None:
            return self.catalog().model(name, caller)
        models = self.catalog().open_to(caller)
        if len(models) != 1:
            message = "Missing required parameter: 'model'."
            raise InvalidRequest(message, param="model", code="missing_required_parameter")
        return models[0]

    def _pinned(self, generation: Generation, requester: Requester) -> Generation:
        """A request that may not ask for the version on trial is served as if it had not, and is told so."""
        if not requester.wants_canary:
            return generation
        if self._canary_tenants.may_ask(generation.model.pool, generation.caller.tenant):
            return replace(generation, wants_canary=True)
        if CANARY_HEADER not in requester.ignored.split(", "):
            requester.ignored = also_ignored(requester.ignored, [CANARY_HEADER])
        return generation

    def _origin(self, requester: Requester, timeout_s: float | None) -> RequestOrigin:
        caller, now = identified(requester), self.clock.wall()
        caller.check_budget(now)
        timeout_s = min(timeout_s or self._timeout_s, self._timeout_s)
        salt = self._cache_salt.of(caller.tenant)
        return RequestOrigin(requester.request_id, now, caller, salt, timeout_s, requester.traceparent)


def identified(requester: Requester) -> Caller:
    """Returns who makes a request.

    Raises:
        Unauthenticated: no key was checked.
    """
    if requester.caller is None:
        raise Unauthenticated("You didn't provide an API key.")
    return requester.caller
