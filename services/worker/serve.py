"""WorkerService.Serve: one stream carries all requests of one gateway; each request is a task.

The life of a request: the worker checks Start against its state and asks the engine. The engine's events become frames
as far as the gateway gives credit. One Ended frame closes the request, also after an error. When the gateway's side of
the stream ends, its requests are aborted.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import NoReturn

import grpc

from services.shared import rpc
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from services.shared.tracing import Tracing
from services.worker.adapters.adapters import Adapters
from services.worker.batch import Batch
from services.worker.credit import Credit
from services.worker.engine.contract import (
    Adapter,
    Delta,
    Engine,
    EngineError,
    Event,
    InvalidPrompt,
    Started,
    Take,
)
from services.worker.hold_back import HoldBack
from services.worker.metrics import Metrics
from services.worker.request_trace import RequestTrace
from services.worker.status import State, Status
from services.worker.wire import Name, engine_request, failure_of, logprob_frame, tokenizable, usage_frame
from tidegate.worker.v1 import worker_pb2 as pb
from tidegate.worker.v1 import worker_pb2_grpc

log = logging.getLogger(__name__)

HELLO_S = 5.0

# The router keeps few requests waiting in an engine. A gateway that sends more than this multiple of `max_running` does
# not ask the router.
_OVERLOAD_FACTOR = 4

_OUTCOMES = {
    pb.FAILURE_KIND_UNSPECIFIED: "completed",
    pb.FAILURE_KIND_CANCELLED: "cancelled",
    pb.FAILURE_KIND_DEADLINE: "timed_out",
    pb.FAILURE_KIND_DRAINING: "handed_over",
    pb.FAILURE_KIND_ENGINE: "failed",
}

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

    async def Serve(  # noqa: N802 -- gRPC names it
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: Context
    ) -> AsyncIterator[pb.ServeResponse]:
        """Runs the requests of one gateway until its stream ends."""
        frames: AsyncIterator[pb.ServeFrame] = rpc.frames(request_iterator)
        await self._expect_hello(frames, context)
        stream = GatewayStream(self._engine, self._status, self._metrics, self._clock, self._adapters, self._tracing)
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

    async def _expect_hello(self, frames: AsyncIterator[pb.ServeFrame], context: Context) -> None:
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


async def _refuse(
    context: rpc.Context, message: str, status: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
) -> NoReturn:
    await context.abort(status, message)
    raise AssertionError("abort raises")


class Request:
    """One running request.

    Attributes:
        hold_back: What of its answer may wait; None: nothing may.
    """

    def __init__(self, start: pb.Start, clock: Clock) -> None:
        self.start = start
        self.name = Name(start.stream_id, start.attempt)
        self.credit = Credit(start.credit_tokens)
        held = start.hold_back
        self.hold_back = HoldBack(held.tokens, held.ms / 1000, clock) if held.tokens else None
        self.task: asyncio.Task[None] | None = None
        self.stopped: pb.Failure | None = None
        self.adapter: Adapter | None = None
        self.trace: RequestTrace | None = None

    def stop(self, kind: pb.FailureKind.ValueType, message: str) -> None:
        """Ends the request early; only the first reason counts."""
        if self.stopped is None and self.task is not None:
            self.stopped = pb.Failure(kind=kind, message=message)
            self.task.cancel()


class GatewayStream:
    """The running requests of one gateway and the batch that carries their frames."""

    def __init__(
        self,
        engine: Engine,
        status: Status,
        metrics: Metrics,
        clock: Clock,
        adapters: Adapters | None,
        tracing: Tracing | None,
    ) -> None:
        self._engine, self._status, self._metrics, self._clock = engine, status, metrics, clock
        self._adapters, self._tracing = adapters, tracing
        self._requests: dict[int, Request] = {}
        self._tasks = Tasks()
        self.batch = Batch()

    async def read(self, frames: AsyncIterator[pb.ServeFrame]) -> None:
        """Reads frames until the gateway's side ends, then aborts the running requests."""
        async for frame in frames:
            match frame.WhichOneof("frame"):
                case "start":
                    await self._start(frame.start)
                case "cancel":
                    self._cancel(frame.cancel)
                case "credit":
                    self._add_credit(frame.credit)
                case kind:
                    log.warning("gateway sent a frame out of place: %s", kind)
        await self.stop()

    async def stop(self) -> None:
        """Aborts all requests and waits until the engine has released them."""
        await self._tasks.stop()

    def hand_over(self) -> None:
        """Ends all running requests so that other workers continue them."""
        for request in list(self._requests.values()):
            request.stop(pb.FAILURE_KIND_DRAINING, "this worker is leaving")

    async def _start(self, start: pb.Start) -> None:
        if refusal := self._refusal(start):
            self._metrics.requests.labels("refused").inc()
            await self.batch.end(_ended(start, failure=refusal))
            return
        request = Request(start, self._clock)
        if self._tracing and start.trace_parent:
            request.trace = RequestTrace(self._tracing, start, self._status.identity.worker_id)
        self._requests[start.stream_id] = request
        self._status.request_began()
        request.task = self._tasks.start(self._run(request), f"request-{start.request_id}")
        request.task.add_done_callback(lambda _: self._forget(request))
        if start.timeout_ms:
            expiry = self._tasks.start(self._expire(request), f"deadline-{start.request_id}")
            request.task.add_done_callback(lambda _: expiry.cancel())

    def _refusal(self, start: pb.Start) -> pb.Failure | None:
        info = self._status.info
        if self._status.state is State.DRAINING:
            return pb.Failure(kind=pb.FAILURE_KIND_DRAINING, message="this worker is leaving")
        if self._status.state is State.SWAPPING and not self._status.admits:
            return pb.Failure(kind=pb.FAILURE_KIND_DRAINING, message="this worker changes its weights")
        if info is None or not self._status.admits:
            return pb.Failure(kind=pb.FAILURE_KIND_ENGINE, message="this worker's engine is not ready")
        if start.model_version not in ("", info.model_version):
            return pb.Failure(kind=pb.FAILURE_KIND_WRONG_VERSION, message=f"this worker serves {info.model_version}")
        if start.adapter and (refusal := self._adapter_refusal(start.adapter)):
            return refusal
        if start.stream_id in self._requests:
            return pb.Failure(kind=pb.FAILURE_KIND_INVALID, message=f"stream_id {start.stream_id} is in use")
        if self._status.requests >= _OVERLOAD_FACTOR * info.max_running:
            return pb.Failure(kind=pb.FAILURE_KIND_OVERLOADED, message="this worker has no room")
        return None

    def _adapter_refusal(self, name: str) -> pb.Failure | None:
        if self._adapters is None:
            return pb.Failure(kind=pb.FAILURE_KIND_INVALID, message="this pool has no adapters", param="model")
        if reason := self._adapters.refusal(name):
            message = f"The adapter '{name}' cannot be served: {reason}"
            return pb.Failure(kind=pb.FAILURE_KIND_INVALID, message=message, param="model")
        if not self._adapters.serves(name):
            return pb.Failure(kind=pb.FAILURE_KIND_WRONG_VERSION, message=f"this worker has no adapter {name}")
        return None

    def _forget(self, request: Request) -> None:
        del self._requests[request.start.stream_id]
        self._status.request_ended()

    async def _expire(self, request: Request) -> None:
        await self._clock.sleep(request.start.timeout_ms / 1000)
        request.stop(pb.FAILURE_KIND_DEADLINE, "the deadline has passed")

    def _cancel(self, cancel: pb.Cancel) -> None:
        request = self._requests.get(cancel.stream_id)
        if request and request.start.attempt == cancel.attempt:
            late = cancel.reason == pb.CANCEL_REASON_DEADLINE
            kind = pb.FAILURE_KIND_DEADLINE if late else pb.FAILURE_KIND_CANCELLED
            request.stop(kind, pb.CancelReason.Name(cancel.reason))

    def _add_credit(self, credit: pb.Credit) -> None:
        if request := self._requests.get(credit.stream_id):
            request.credit.add(credit.tokens)

    async def _run(self, request: Request) -> None:
        try:
            ended = await self._generate(request)
        except asyncio.CancelledError:
            if request.stopped is None:
                if request.trace:
                    request.trace.end(_ended(request.start, pb.Failure(kind=pb.FAILURE_KIND_CANCELLED)))
                raise  # The gateway has left: nobody reads a failure.
            ended = _ended(request.start, failure=request.stopped)
        except EngineError as error:
            if not isinstance(error, InvalidPrompt):
                names = {"trace_id": request.trace.trace_id} if request.trace else {}
                log.error("request %s failed: %s", request.start.request_id, error, extra=names)
            ended = _ended(request.start, failure=failure_of(error))
        self._count(ended.failure)
        if request.trace:
            request.trace.end(ended)
        self._send_held(request)
        await self.batch.end(ended)

    async def _generate(self, request: Request) -> pb.Ended:
        """Sends the events of the request, with its adapter if it names one. Raises EngineError."""
        start = request.start
        if not start.adapter or self._adapters is None:
            return await self._forward(request)
        async with self._adapters.use(start.adapter, start.adapter_version) as request.adapter:
            return await self._forward(request)

    async def _forward(self, request: Request) -> pb.Ended:
        """Sends the events that `_take` did not take, until the last one. Raises EngineError."""
        take: Take = partial(self._take, request)
        headers: Mapping[str, str] | None = None
        if request.trace:
            take, headers = request.trace.watching(take), request.trace.headers
        asked = engine_request(request.start, request.adapter, headers)
        async with aclosing(self._engine.generate(asked, take)) as events:
            async for event in events:
                if ended := await self._send(request, event):
                    return ended
        raise AssertionError("an engine's last event is Ended")

    def _take(self, request: Request, delta: Delta) -> bool:
        """Puts a delta into the message of the engine step that made it. Nearly every delta goes this way."""
        if request.hold_back:
            return self._take_or_hold(request, request.hold_back, delta)
        if self.batch.full or not request.credit.take(len(delta.token_ids)):
            return False
        self.batch.put(request.name, delta)
        return True

    def _take_or_hold(self, request: Request, hold_back: HoldBack, delta: Delta) -> bool:
        if hold_back.keeps(delta):
            return True
        if self.batch.full or not request.credit.take(hold_back.tokens_with(delta)):
            return False
        for part in hold_back.release(delta):
            self.batch.put(request.name, part)
        return True

    def _send_held(self, request: Request) -> None:
        """Sends what is held back of a request that ends early, as far as it can go at once: another worker continues.

        The last delta of each choice is never held back, so nothing is left of an answer that is complete.
        """
        for delta in request.hold_back.release_all() if request.hold_back else ():
            if not self.batch.full and request.credit.take(len(delta.token_ids)):
                self.batch.put(request.name, delta)

    async def _send_delta(self, request: Request, delta: Delta) -> None:
        """Waits for credit and for room in the batch."""
        if request.credit.take(len(delta.token_ids)):
            await self.batch.add(request.name, delta)
            return
        async for part in request.credit.pace(delta):
            await self.batch.add(request.name, part)

    async def _send(self, request: Request, event: Event) -> pb.Ended | None:
        if isinstance(event, Delta):
            hold_back = request.hold_back
            if hold_back and hold_back.keeps(event):
                return None
            for delta in hold_back.release(event) if hold_back else (event,):
                await self._send_delta(request, delta)
            return None
        if isinstance(event, Started):
            await self.batch.start(self._started(request, event))
            return None
        return pb.Ended(
            stream_id=request.start.stream_id, attempt=request.start.attempt, usage=usage_frame(event.usage)
        )

    def _started(self, request: Request, event: Started) -> pb.Started:
        return pb.Started(
            stream_id=request.name.stream_id,
            attempt=request.name.attempt,
            model_version=self._status.info.model_version if self._status.info else "",
            prompt_tokens=event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            resumable=event.resumable,
            prompt_token_ids=event.prompt_token_ids,
            prompt_logprobs=map(logprob_frame, event.prompt_logprobs),
            adapter_version=request.adapter.version if request.adapter else "",
        )

    def _count(self, failure: pb.Failure) -> None:
        self._metrics.requests.labels(_OUTCOMES.get(failure.kind, "refused")).inc()


def _ended(start: pb.Start, failure: pb.Failure) -> pb.Ended:
    return pb.Ended(stream_id=start.stream_id, attempt=start.attempt, failure=failure)
