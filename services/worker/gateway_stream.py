"""The running requests of one gateway: each is a task, and its events become frames of the gateway's batch.

The worker checks Start against its state and asks the engine. The engine's events become frames as far as the gateway
gives credit. One Ended frame closes the request, also after an error. When the gateway's side of the stream ends, its
requests are aborted.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial

from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from services.shared.swap_mode import SwapMode
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
from services.worker.wire import Name, embed_request, engine_request, failure_of, logprob_frame, usage_frame
from tidegate.worker.v1 import worker_pb2 as pb

log = logging.getLogger(__name__)

# The router keeps few requests waiting in an engine. A gateway that sends more than this multiple of `max_running` does
# not ask the router.
_OVERLOAD_FACTOR = 4

# A router that does not know yet that the weights change here would grant the same request here again, and again.
_REFUSE_AFTER_S = 0.25

_OUTCOMES = {
    pb.FAILURE_KIND_UNSPECIFIED: "completed",
    pb.FAILURE_KIND_CANCELLED: "cancelled",
    pb.FAILURE_KIND_DEADLINE: "timed_out",
    pb.FAILURE_KIND_DRAINING: "handed_over",
    pb.FAILURE_KIND_RECOMPUTE: "handed_over",
    pb.FAILURE_KIND_HAND_OVER: "handed_over",
    pb.FAILURE_KIND_ENGINE: "failed",
}

_MOVED = {
    SwapMode.FINISH: pb.FAILURE_KIND_RECOMPUTE,
    SwapMode.RECOMPUTE: pb.FAILURE_KIND_RECOMPUTE,
    SwapMode.HAND_OVER: pb.FAILURE_KIND_HAND_OVER,
}


class Request:
    """One running request.

    Attributes:
        hold_back: What of its answer may wait; None: nothing may.
        began_at: When it came, by the worker's clock.
        resumable: Other weights can continue it. That is so before anything of it was generated.
        embeds: It asks for vectors.
    """

    def __init__(self, start: pb.Start, clock: Clock) -> None:
        self.start = start
        self.name = Name(start.stream_id, start.attempt)
        self.credit = Credit(start.credit_tokens)
        held = start.hold_back
        self.hold_back = HoldBack(held.tokens, held.ms / 1000, clock) if held.tokens else None
        self.began_at = clock.monotonic()
        self.resumable = True
        self.embeds = start.HasField("inputs")
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
        hello: pb.Hello,
        engine: Engine,
        status: Status,
        metrics: Metrics,
        clock: Clock,
        adapters: Adapters | None,
        tracing: Tracing | None,
    ) -> None:
        self._engine, self._status, self._metrics, self._clock = engine, status, metrics, clock
        self._adapters, self._tracing, self._crosses_versions = adapters, tracing, hello.crosses_versions
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

    def fixed(self, since: float) -> int:
        """How many requests run that cannot be continued on other weights, and came before a time."""
        return sum(request.began_at <= since and not self._is_movable(request) for request in self._requests.values())

    def move(self, mode: SwapMode) -> None:
        """Ends all requests because the weights change."""
        for request in list(self._requests.values()):
            failure = self._moved(mode, movable=self._is_movable(request))
            request.stop(failure.kind, failure.message)

    def _is_movable(self, request: Request) -> bool:
        """An adapter goes with one version of its model."""
        return self._crosses_versions and request.resumable and not request.start.adapter

    def _moved(self, mode: SwapMode, *, movable: bool) -> pb.Failure:
        kind = _MOVED[mode] if movable else pb.FAILURE_KIND_DRAINING
        return pb.Failure(kind=kind, message="this worker changes its weights")

    def hand_over(self) -> None:
        """Ends all running requests so that other workers continue them."""
        for request in list(self._requests.values()):
            request.stop(pb.FAILURE_KIND_DRAINING, "this worker is leaving")

    async def _start(self, start: pb.Start) -> None:
        if refusal := self._refusal(start):
            self._metrics.requests.labels("refused").inc()
            if refusal.kind in _MOVED.values():
                self._tasks.start(self._refuse_later(start, refusal), f"refused-{start.request_id}")
            else:
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

    async def _refuse_later(self, start: pb.Start, refusal: pb.Failure) -> None:
        await self._clock.sleep(_REFUSE_AFTER_S)
        await self.batch.end(_ended(start, failure=refusal))

    def _refusal(self, start: pb.Start) -> pb.Failure | None:
        info = self._status.info
        if self._status.state is State.DRAINING:
            return pb.Failure(kind=pb.FAILURE_KIND_DRAINING, message="this worker is leaving")
        if self._status.state is State.SWAPPING and (mode := self._status.sealed):
            return self._moved(mode, movable=self._crosses_versions and not start.adapter)
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
        async with aclosing(self._events(request, take, headers)) as events:
            async for event in events:
                if ended := await self._send(request, event):
                    return ended
        raise AssertionError("an engine's last event is Ended")

    def _events(self, request: Request, take: Take, headers: Mapping[str, str] | None) -> AsyncGenerator[Event, None]:
        if request.embeds:
            return self._engine.embed(embed_request(request.start, request.adapter, headers))
        return self._engine.generate(engine_request(request.start, request.adapter, headers), take)

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
            # Vectors of two versions cannot be compared.
            request.resumable = request.resumable and not request.embeds
            hold_back = request.hold_back
            if hold_back and hold_back.keeps(event):
                return None
            for delta in hold_back.release(event) if hold_back else (event,):
                await self._send_delta(request, delta)
            return None
        if isinstance(event, Started):
            request.resumable = event.resumable
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
