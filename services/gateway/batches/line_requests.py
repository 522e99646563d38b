"""Runs the requests of a batch like all others: the same validation, limits, queue and ledger, in the class `batch`."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from services.gateway.batches.batch import Batch, Endpoint
from services.gateway.domain.account import Caller
from services.gateway.domain.generation import Generation
from services.gateway.generation.generation_stream import Generations
from services.gateway.openai.documents import ChatDocument, CompletionDocument, DocumentBuilder, collect, joined
from services.gateway.openai.embedding_document import EmbeddingDocument
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.responses_events import ResponseDocument
from services.shared.classes import ServiceClass
from services.shared.errors import UnknownModel

CurrentRights = Callable[[str], Awaitable[Caller]]
"""Returns what a key may do now, by its id."""


@dataclass(slots=True)
class BatchRequester:
    """A line of a batch as the maker of a request. Its result has no headers, so what was left out is only counted."""

    request_id: str
    caller: Caller
    strict: bool = False
    ignored: str = ""
    traceparent: str = ""
    wants_canary: bool = False


class LineRequests:
    """Runs single requests of batches."""

    def __init__(self, builder: RequestBuilder, generations: Generations, rights: CurrentRights) -> None:
        self._builder, self._generations, self._rights = builder, generations, rights

    async def ask(self, batch: Batch, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Runs one request and returns the endpoint's document.

        Args:
            batch: the batch that the request belongs to.
            body: the decoded body.
            request_id: 32 hexadecimal digits.

        Raises:
            TidegateError: the request is wrong, or it failed.
        """
        requester = BatchRequester(request_id, await self._caller(batch))
        if batch.endpoint == "/v1/completions":
            # The prompts of one line run one after the other: the batch has its own number of requests at once.
            return joined(
                [
                    await self._run(generation, CompletionDocument(generation.sampling.n, shown=generation.shown))
                    for generation in self._builder.completions(body, requester)
                ]
            )
        return await self._run(*self._prepare(batch.endpoint, body, requester))

    async def _run(self, generation: Generation, document: DocumentBuilder) -> dict[str, Any]:
        with self._generations.open(generation) as stream:
            await stream.begin()
            return await collect(stream, document)

    async def unknown_models(self, batch: Batch, models: Iterable[str]) -> dict[str, UnknownModel]:
        """Returns the models that do not exist for the key of a batch, each with the error that says so.

        Raises:
            TidegateError: they cannot be looked up now, or the key has no rights any more.
        """
        requester, unknown = BatchRequester("", await self._caller(batch)), {}
        for model in models:
            try:
                self._builder.model(model, requester)
            except UnknownModel as error:
                unknown[model] = error
        return unknown

    async def _caller(self, batch: Batch) -> Caller:
        """Returns who made the batch, with the rights that the key has now, restricted to the class `batch`."""
        caller = await self._rights(batch.key_id)
        tier = caller.service_class(ServiceClass.BATCH.label)
        return replace(caller, tiers=frozenset({tier.label}))

    def _prepare(
        self, endpoint: Endpoint, body: dict[str, Any], requester: BatchRequester
    ) -> tuple[Generation, DocumentBuilder]:
        if endpoint == "/v1/embeddings":
            generation, base64 = self._builder.embeddings(body, requester)
            return generation, EmbeddingDocument(generation.sampling.n, base64=base64)
        if endpoint == "/v1/responses":
            asked = self._builder.read_response(body, requester)
            asked.check_stands_alone("previous_response_id", "conversation", "background")
            generation, shape = self._builder.response(asked, requester)
            return generation, ResponseDocument(shape, generation.id, self._builder.clock)
        generation = self._builder.chat(body, requester)
        return generation, ChatDocument(generation.sampling.n, shown=generation.shown)
