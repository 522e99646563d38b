"""Requests of a batch, asked as any other: the same validator, queue and ledger, in a class of their own."""

from dataclasses import dataclass
from typing import Any

from services.gateway.accounts.account import Caller
from services.gateway.answer import Answers
from services.gateway.asking import Asking
from services.gateway.batches.batch import Endpoint
from services.gateway.gathering import gather
from services.gateway.generation import Generation
from services.gateway.openai import invalid
from services.gateway.openai.response_shape import ResponseWhole
from services.gateway.openai.responses import ResponsesRequest
from services.gateway.openai.whole import ChatWhole, CompletionWhole, Whole


@dataclass(frozen=True, slots=True)
class BatchAsker:
    request_id: str
    caller: Caller


class BatchAsking:
    def __init__(self, asking: Asking, answers: Answers) -> None:
        self._asking, self._answers = asking, answers

    async def ask(self, endpoint: Endpoint, body: dict[str, Any], asker: BatchAsker) -> dict[str, Any]:
        """The endpoint's document. Raises TidegateError."""
        generation, whole = self._prepare(endpoint, body, asker)
        with self._answers.open(generation) as answer:
            await answer.begin()
            return await gather(answer, whole)

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
