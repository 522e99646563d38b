"""WorkerService: a stream for each gateway carries all of its requests (gateway_stream.py); short calls tokenize."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import grpc

from services.shared import rpc
from services.shared.clock import Clock
from services.shared.swap_mode import SwapMode
from services.shared.tracing import Tracing
from services.worker.adapters.adapters import Adapters
from services.worker.engine.contract import Engine, EngineError, InvalidPrompt
from services.worker.gateway_stream import GatewayStream
from services.worker.metrics import Metrics
from services.worker.status import Status
from services.worker.wire import tokenizable
from tidegate.worker.v1 import worker_pb2 as pb
from tidegate.worker.v1 import worker_pb2_grpc

log = logging.getLogger(__name__)

HELLO_S = 5.0

Context = grpc.aio.ServicerContext[AsyncIterator[pb.ServeRequest], AsyncIterator[pb.ServeResponse]]


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """The worker's gRPC service for gateways."""

    def __init__(
        self,
        engine: Engine,
        status: Status,
        metrics: Metrics,
        clock: Clock,
        *,
        adapters: Adapters | None = None,
        tracing: Tracing | None = None,
        hello_s: float = HELLO_S,
    ) -> None:
        """Serves `engine` and, if the pool has any, `adapters`; a gateway must send Hello within `hello_s` seconds."""
        self._engine, self._status, self._metrics, self._clock = engine, status, metrics, clock
        self._adapters, self._tracing, self._hello_s = adapters, tracing, hello_s
        self._streams: set[GatewayStream] = set()

    def hand_over(self) -> None:
        """Ends the running requests of all gateways so that other workers continue them."""
        for stream in self._streams:
            stream.hand_over()

    def fixed(self, older_than_s: float = 0.0) -> int:
        """How many requests run that cannot be continued on other weights, for longer than `older_than_s` seconds."""
        since = self._clock.monotonic() - older_than_s
        return sum(stream.fixed(since) for stream in self._streams)

    def move(self, mode: SwapMode) -> None:
        """Ends all requests because the weights change. They are continued as `mode` says, where they can be."""
        for stream in self._streams:
            stream.move(mode)

    async def Serve(  # noqa: N802 -- gRPC names it
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: Context
    ) -> AsyncIterator[pb.ServeResponse]:
        """Runs the requests of one gateway until its stream ends."""
        frames: AsyncIterator[pb.ServeFrame] = rpc.frames(request_iterator)
        hello = await self._expect_hello(frames, context)
        stream = GatewayStream(
            hello, self._engine, self._status, self._metrics, self._clock, self._adapters, self._tracing
        )
        self._streams.add(stream)
        reading = asyncio.create_task(stream.read(frames), name="serve-read")
        reading.add_done_callback(lambda _: stream.batch.close())
        try:
            async for message in stream.batch.collected():
                message.worker_epoch, message.step = self._status.identity.epoch, self._engine.load().steps
                message.state = pb.WorkerState.ValueType(self._status.state)
                yield message
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await stream.stop()
            self._streams.discard(stream)

    async def Tokenize(self, request: pb.TokenizeRequest, context: rpc.Context) -> pb.TokenizeResponse:  # noqa: N802
        """Returns the token ids of a prompt."""
        async with self._loaded_version(context) as version:
            special = request.add_special_tokens if request.HasField("add_special_tokens") else None
            token_ids = await self._engine.tokenize(tokenizable(request), add_special_tokens=special)
            texts = self._engine.token_strs(token_ids) if request.return_token_strs else ()
            return pb.TokenizeResponse(token_ids=token_ids, model_version=version, token_strs=texts)

    async def Detokenize(self, request: pb.DetokenizeRequest, context: rpc.Context) -> pb.DetokenizeResponse:  # noqa: N802
        """Returns the text of token ids."""
        async with self._loaded_version(context) as version:
            text = await self._engine.detokenize(list(request.token_ids))
            return pb.DetokenizeResponse(text=text, model_version=version)

    async def DescribeTokenizer(  # noqa: N802
        self, request: pb.DescribeTokenizerRequest, context: rpc.Context
    ) -> pb.DescribeTokenizerResponse:
        """Returns the tokenizer's configuration; what is not JSON is shown as text."""
        async with self._loaded_version(context):
            config = json.dumps(self._engine.tokenizer_config(), default=str)
            return pb.DescribeTokenizerResponse(config_json=config.encode())

    @asynccontextmanager
    async def _loaded_version(self, context: rpc.Context) -> AsyncIterator[str]:
        """Yields the loaded version for a short call, and turns errors of the engine into gRPC statuses."""
        info = self._status.info
        if info is None:
            await _refuse(context, "this worker's engine is not ready", grpc.StatusCode.UNAVAILABLE)
        try:
            yield info.model_version
        except InvalidPrompt as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except EngineError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _expect_hello(self, frames: AsyncIterator[pb.ServeFrame], context: Context) -> pb.Hello:
        try:
            async with asyncio.timeout(self._hello_s):
                first = await anext(frames, None)
        except TimeoutError:
            await _refuse(context, f"no Hello came within {self._hello_s:g} s")
        if first is None or first.WhichOneof("frame") != "hello":
            await _refuse(context, "the first frame of a stream is Hello")
        epoch = self._status.identity.epoch
        if first.hello.worker_epoch not in (0, epoch):
            await _refuse(context, f"this worker's epoch is {epoch}, not {first.hello.worker_epoch}")
        return first.hello


async def _refuse(
    context: rpc.Context, message: str, status: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
) -> NoReturn:
    await context.abort(status, message)
    raise AssertionError("abort raises")
