"""Requests of a batch, asked as any other: the same validator, limits, queue and ledger, in a class of their own."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from services.gateway.accounts.account import Caller
from services.gateway.answers.answer import Answers
from services.gateway.answers.gathering import gather
from services.gateway.asking.asking import Asking
from services.gateway.asking.generation import Generation
from services.gateway.batches.batch import Batch, Endpoint
from services.gateway.openai import invalid
from services.gateway.openai.response_shape import ResponseWhole
from services.gateway.openai.responses import ResponsesRequest
from services.gateway.openai.whole import ChatWhole, CompletionWhole, Whole
from services.shared.classes import ServiceClass

Still = Callable[[str], Awaitable[Caller]]
"""From the id of a key to what it may do now."""


@dataclass(frozen=True, slots=True)
class BatchAsker:
    request_id: str
    caller: Caller


class BatchAsking:
    def __init__(self, asking: Asking, answers: Answers, still: Still) -> None:
        self._asking, self._answers, self._still = asking, answers, still

    async def ask(self, batch: Batch, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        """The endpoint's document. Raises TidegateError."""
        asker = BatchAsker(request_id, await self._caller(batch))
        generation, whole = self._prepare(batch.endpoint, body, asker)
        with self._answers.open(generation) as answer:
            await answer.begin()
            return await gather(answer, whole)

    async def _caller(self, batch: Batch) -> Caller:
        """Whoever made the batch, with the limits and the budget that their key has now, in this class alone."""
        caller = await self._still(batch.key_id)
        tier = caller.service_class(ServiceClass.BATCH.label)
        return replace(caller, tiers=frozenset({tier.label}))

    def _prepare(self, endpoint: Endpoint, body: dict[str, Any], asker: BatchAsker) -> tuple[Generation, Whole]:
        match endpoint:
            case "/v1/chat/completions":
                generation = self._asking.chat(body, asker)
                return generation, ChatWhole(generation.sampling.n)
            case "/v1/completions":
                generation = self._asking.completion(body, asker)
                return generation, CompletionWhole(generation.sampling.n)
            case "/v1/responses":
                wanted = invalid.check(ResponsesRequest, body)
                generation = self._asking.response(wanted, asker)
                return generation, ResponseWhole(wanted.echo(), generation.id)
