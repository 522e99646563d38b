"""Tokens of a text and text of tokens, from any ready worker of the pool. These calls do not wait in the queue."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

import grpc
import orjson

from services.gateway.domain.catalog import Catalog, Model
from services.shared import rpc
from services.shared.certificates import Tls
from services.shared.errors import InvalidRequest, NoWorkers, Overloaded
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

MAX_OPEN = 64
MAX_TRIES = 3
TIMEOUT_S = 10.0

Reply = TypeVar("Reply")
CallWorker = Callable[["worker_pb2_grpc.WorkerServiceStub"], Awaitable[Reply]]


class TokenizerClient:
    """Calls a ready worker chosen at random, and another one when it does not answer."""

    def __init__(self, random: Random, tls: Tls | None = None) -> None:
        self._random, self._tls = random, tls
        self._open = 0

    async def tokenize(
        self, model: Model, catalog: Catalog, request: worker_pb2.TokenizeRequest
    ) -> worker_pb2.TokenizeResponse:
        """Returns the tokens of a prompt.

        Raises:
            InvalidRequest: the worker cannot render the prompt.
            NoWorkers: no worker of the pool answers.
            Overloaded: too many calls are open.
        """
        param = "messages" if request.WhichOneof("prompt") == "chat" else "prompt"
        return await self._call_any(model, catalog, lambda worker: worker.Tokenize(request, timeout=TIMEOUT_S), param)

    async def detokenize(self, model: Model, catalog: Catalog, token_ids: list[int]) -> str:
        """Returns the text of token ids. Raises what `tokenize` raises."""
        request = worker_pb2.DetokenizeRequest(token_ids=token_ids)
        reply = await self._call_any(
            model, catalog, lambda worker: worker.Detokenize(request, timeout=TIMEOUT_S), "tokens"
        )
        return str(reply.text)

    async def describe(self, model: Model, catalog: Catalog) -> dict[str, Any]:
        """Returns the tokenizer's configuration. Raises NoWorkers and Overloaded, as `tokenize` does."""
        request = worker_pb2.DescribeTokenizerRequest()
        reply = await self._call_any(
            model, catalog, lambda worker: worker.DescribeTokenizer(request, timeout=TIMEOUT_S), "model"
        )
        config: dict[str, Any] = orjson.loads(reply.config_json)
        return config

    async def _call_any(self, model: Model, catalog: Catalog, call: CallWorker[Reply], param: str) -> Reply:
        """Returns the reply of a worker. param: the parameter at fault when the worker refuses the request."""
        if self._open >= MAX_OPEN:
            raise Overloaded("Too many prompts are being counted. Please try again.", retry_after_s=1.0)
        self._open += 1
        try:
            addresses = list(catalog.addresses.get(model.pool, ()))
            for address in self._random.sample(addresses, min(MAX_TRIES, len(addresses))):
                if (reply := await self._call(address, call, param)) is not None:
                    return reply
        finally:
            self._open -= 1
        raise NoWorkers(f"No worker of '{model.id}' answers now. Please try again later.", retry_after_s=1.0)

    async def _call(self, address: str, call: CallWorker[Reply], param: str) -> Reply | None:
        """None when another worker may do better."""
        async with rpc.channel(address, self._tls) as channel:
            try:
                return await call(worker_pb2_grpc.WorkerServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidRequest(error.details() or "The prompt cannot be read.", param=param) from None
                return None
