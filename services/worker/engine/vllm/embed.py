"""Embeddings with vLLM: each input is an engine request of its own, and all vectors are yielded together."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import torch
from vllm.inputs import tokens_input
from vllm.outputs import PoolingRequestOutput
from vllm.pooling_params import PoolingParams

from services.worker.engine.contract import (
    Delta,
    EmbedRequest,
    Ended,
    EngineRequest,
    Event,
    InvalidPrompt,
    Started,
    TextPrompt,
    TokenPrompt,
    Usage,
)
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.lora import lora_request

AT_ONCE = 32
"""Inputs of one request that the engine has at once. The others wait here, so that other requests get their turn."""


@dataclass(frozen=True, slots=True)
class Vector:
    """What became of one input. `data`: 32-bit floats, little-endian."""

    data: bytes
    cached_tokens: int


class VectorListener:
    """Waits for the one output of an input."""

    def __init__(self) -> None:
        self.ended = False
        self.output: asyncio.Future[PoolingRequestOutput] = asyncio.get_running_loop().create_future()

    def tokens(self, token_ids: list[int]) -> None:
        """Is never called: an engine that embeds generates no tokens."""
        raise AssertionError("an engine that embeds generated tokens")

    def put(self, output: PoolingRequestOutput | Exception) -> None:
        """Takes the output or an error as vLLM's own output processor makes them."""
        if self.output.done():
            return  # vLLM reports the abort of an input that has ended.
        if isinstance(output, Exception):
            self.output.set_exception(output)
        else:
            self.output.set_result(output)


class VllmEmbedding:
    """Embeds the inputs of one request."""

    def __init__(self, loaded: Loaded, request: EmbedRequest) -> None:
        self._loaded, self._request = loaded, request
        self._names: set[str] = set()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yields the events that the contract describes; closing it early aborts every input.

        Raises:
            InvalidPrompt: an input is wrong.
        """
        prompts = {index: await self._token_ids(index) for index in self._request.missing}
        tokens = sum(map(len, prompts.values()))
        yield Started(tokens, 0, resumable=True)
        vectors = await self._vectors(prompts)
        for index in sorted(vectors):
            yield Delta(index, finish_reason="stop", embedding=vectors[index].data)
        yield Ended(Usage(tokens, sum(vector.cached_tokens for vector in vectors.values()), 0))

    async def _token_ids(self, index: int) -> list[int]:
        """Raises InvalidPrompt, which names the input."""
        given = self._request.inputs[index]
        try:
            return await self._tokenized(given)
        except InvalidPrompt as error:
            raise type(error)(f"input[{index}]: {error}", error.param) from error

    async def _tokenized(self, given: TextPrompt | TokenPrompt) -> list[int]:
        asked = EngineRequest(self._request.request_id, given, self._request.sampling)
        token_ids = (await self._loaded.renderer.render(asked)).token_ids
        if not token_ids:
            raise InvalidPrompt("it has no tokens", "prompt")
        return token_ids

    async def _vectors(self, prompts: dict[int, list[int]]) -> dict[int, Vector]:
        left, found = iter(prompts.items()), dict[int, Vector]()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(prompts))):
                    group.create_task(self._embed_each(left, found))
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            await self._abort()
        return found

    async def _embed_each(self, left: Iterator[tuple[int, list[int]]], found: dict[int, Vector]) -> None:
        """Embeds inputs one after the other until none is left."""
        for index, token_ids in left:
            found[index] = await self._embed(index, token_ids)

    async def _embed(self, index: int, token_ids: list[int]) -> Vector:
        request, loaded, listener = self._request, self._loaded, VectorListener()
        name = loaded.steps.announce(f"{request.request_id}-{index}", listener)
        self._names.add(name)
        await loaded.llm.add_request(
            name,
            tokens_input(token_ids, cache_salt=loaded.salt(request.cache_salt)),
            PoolingParams(task="embed", dimensions=request.dimensions),
            lora_request=lora_request(request.adapter),
            priority=request.priority,
            trace_headers=request.trace_headers,
        )
        output = await listener.output
        self._names.discard(name)
        return Vector(_bytes_of(output.outputs.data), output.num_cached_tokens or 0)

    async def _abort(self) -> None:
        """Aborts the inputs that have no vector yet."""
        if self._names:
            self._loaded.steps.forget(self._names)
            await self._loaded.llm.abort(list(self._names))


def _bytes_of(vector: torch.Tensor) -> bytes:
    data: bytes = vector.to(torch.float32).numpy().astype("<f4").tobytes()
    return data
