"""Counting tokens: asked of any ready worker of the pool, without a place in the queue."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import grpc

from services.gateway.domain.catalog import Catalog, Model
from services.shared import rpc
from services.shared.errors import InvalidRequest, NoWorkers, Overloaded
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

MAX_OPEN = 64
MAX_TRIES = 3
TIMEOUT_S = 10.0

Answer = TypeVar("Answer")
Ask = Callable[["worker_pb2_grpc.WorkerServiceStub"], Awaitable[Answer]]


class TokenizerClient:
    def __init__(self, random: Random, tls: rpc.Tls | None = None) -> None:
        self._random, self._tls = random, tls
        self._open = 0

    async def tokenize(self, model: Model, catalog: Catalog, request: worker_pb2.TokenizeRequest) -> list[int]:
        """Raises InvalidRequest, NoWorkers, Overloaded."""
        answer = await self._ask(model, catalog, lambda worker: worker.Tokenize(request, timeout=TIMEOUT_S))
        return list(answer.token_ids)

    async def detokenize(self, model: Model, catalog: Catalog, token_ids: list[int]) -> str:
        """Raises InvalidRequest, NoWorkers, Overloaded."""
        request = worker_pb2.DetokenizeRequest(token_ids=token_ids)
        answer = await self._ask(model, catalog, lambda worker: worker.Detokenize(request, timeout=TIMEOUT_S))
        return str(answer.text)

    async def _ask(self, model: Model, catalog: Catalog, ask: Ask[Answer]) -> Answer:
        if self._open >= MAX_OPEN:
            raise Overloaded("Too many prompts are being counted. Please try again.", retry_after_s=1.0)
        self._open += 1
        try:
            addresses = list(catalog.addresses.get(model.pool, ()))
            for address in self._random.sample(addresses, min(MAX_TRIES, len(addresses))):
                if (answer := await self._try(address, ask)) is not None:
                    return answer
        finally:
            self._open -= 1
        raise NoWorkers(f"No worker of '{model.id}' answers now. Please try again later.", retry_after_s=1.0)

    async def _try(self, address: str, ask: Ask[Answer]) -> Answer | None:
        """None when another worker may do better."""
        async with rpc.channel(address, self._tls) as channel:
            try:
                return await ask(worker_pb2_grpc.WorkerServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidRequest(error.details() or "The prompt cannot be read.", param="prompt") from None
                return None
