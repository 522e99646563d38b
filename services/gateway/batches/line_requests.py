"""Requests of a batch, asked as any other: the same validator, limits, queue and ledger, in a class of their own."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from services.gateway.batches.batch import Batch, Endpoint
from services.gateway.domain.account import Caller
from services.gateway.domain.generation import Generation
from services.gateway.generation.generation_stream import Generations
from services.gateway.openai import validation
from services.gateway.openai.documents import ChatDocument, CompletionDocument, DocumentBuilder, collect
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.responses_events import ResponseDocument
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.classes import ServiceClass

CurrentRights = Callable[[str], Awaitable[Caller]]
"""From the id of a key to what it may do now."""


@dataclass(frozen=True, slots=True)
class BatchRequester:
    request_id: str
    caller: Caller


class LineRequests:
    def __init__(self, asking: RequestBuilder, answers: Generations, still: CurrentRights) -> None:
        self._asking, self._answers, self._still = asking, answers, still

    async def ask(self, batch: Batch, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        """The endpoint's document. Raises TidegateError."""
        asker = BatchRequester(request_id, await self._caller(batch))
        generation, whole = self._prepare(batch.endpoint, body, asker)
        with self._answers.open(generation) as answer:
            await answer.begin()
            return await collect(answer, whole)

    async def _caller(self, batch: Batch) -> Caller:
        """Whoever made the batch, with the limits and the budget that their key has now, in this class alone."""
        caller = await self._still(batch.key_id)
        tier = caller.service_class(ServiceClass.BATCH.label)
        return replace(caller, tiers=frozenset({tier.label}))

    def _prepare(
        self, endpoint: Endpoint, body: dict[str, Any], asker: BatchRequester
    ) -> tuple[Generation, DocumentBuilder]:
        match endpoint:
            case "/v1/chat/completions":
                generation = self._asking.chat(body, asker)
                return generation, ChatDocument(generation.sampling.n)
            case "/v1/completions":
                generation = self._asking.completion(body, asker)
                return generation, CompletionDocument(generation.sampling.n)
            case "/v1/responses":
                wanted = validation.check(ResponsesRequest, body)
                generation = self._asking.response(wanted, asker)
                return generation, ResponseDocument(wanted.echo(), generation.id)
