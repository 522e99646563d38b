"""The life of a generation: submitted, granted, started, streamed, finished, and tried again where that is exact.

    with generations.open(generation) as stream:
        await stream.begin()                      # from here on the version is known and the first tokens are there
        while deltas := await stream.read():
            ...
        stream.usage

Leaving the block in any way frees the worker's slot and tells the router, once.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.gateway.domain.generation import Generation
from services.gateway.domain.usage import LedgerWriter, Outcome, UsedResources
from services.gateway.generation.attempt import MAX_UNREAD_ITEMS, Attempt
from services.gateway.generation.progress import Progress, VersionSpan
from services.gateway.generation.request_trace import RequestTrace
from services.gateway.generation.retry import FailureCause, Retries, WorkerFailed
from services.gateway.metrics import Metrics
from services.gateway.upstream.mailbox import DeltaSink, Mailbox
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.worker_client import WorkerClient
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.errors import ClientLeft, DeadlineExceeded, Overloaded
from services.shared.tracing import Tracing
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

log = logging.getLogger(__name__)

_ENDINGS: dict[type[BaseException], tuple[router_pb2.Outcome.ValueType, worker_pb2.CancelReason.ValueType]] = {
    ClientLeft: (router_pb2.OUTCOME_CANCELLED, worker_pb2.CANCEL_REASON_CLIENT_LEFT),
    asyncio.CancelledError: (router_pb2.OUTCOME_CANCELLED, worker_pb2.CANCEL_REASON_CLIENT_LEFT),
    GeneratorExit: (router_pb2.OUTCOME_CANCELLED, worker_pb2.CANCEL_REASON_CLIENT_LEFT),
    DeadlineExceeded: (router_pb2.OUTCOME_TIMED_OUT, worker_pb2.CANCEL_REASON_DEADLINE),
}
_OUTCOMES: dict[router_pb2.Outcome.ValueType, Outcome] = {
    router_pb2.OUTCOME_COMPLETED: "completed",
    router_pb2.OUTCOME_CANCELLED: "cancelled",
    router_pb2.OUTCOME_TIMED_OUT: "timed_out",
    router_pb2.OUTCOME_FAILED: "failed",
}
_FAILED = (router_pb2.OUTCOME_FAILED, worker_pb2.CANCEL_REASON_SUPERSEDED)

DeltaObserver = Callable[[list[worker_pb2.Delta]], None]
"""Sees all deltas that the client gets, in order; an empty list is the end of a complete answer."""


class GenerationStream:
    """The tokens of one generation, whichever workers they come from (TokenStream says what its members mean).

    Args:
        progress: how much the client has of the answer already, from another gateway.
    """

    def __init__(
        self,
        generation: Generation,
        router: RouterClient,
        workers: WorkerClient,
        clock: Clock,
        metrics: Metrics,
        ledger: LedgerWriter,
        progress: Progress | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.generation = generation
        self._trace = RequestTrace(tracing, generation) if tracing else None
        self._router, self._workers = router, workers
        self._clock, self._metrics = clock, metrics
        self._opened_at = clock.monotonic()
        self._entry = ledger.open(generation)
        self._retries = Retries()
        self._progress = progress or Progress(choices_expected=generation.sampling.n or 1)
        self._tokens_before = self._progress.completion_tokens
        self._broken_at: float | None = None
        self._due_at: float | None = None
        self._began_at: float | None = None
        self._mailbox = Mailbox(MAX_UNREAD_ITEMS)
        self._attempt = self._new_attempt()
        self._limits: list[router_pb2.LimitState] = []
        self._handed_out: list[worker_pb2.Delta] = []
        self._submitted = self._ended = False
        self._observer: DeltaObserver | None = None

    @property
    def version(self) -> str:
        """Version of what answers: of the adapter if the request names one, else of the model.

        Empty until a worker was granted or, for an adapter, has begun.
        """
        return self._progress.adapter_version if self.generation.model.adapter else self.model_version

    @property
    def model_version(self) -> str:
        """Version of the model that answers, with or without an adapter; empty until a worker was granted."""
        grant = self._attempt.grant
        return self._progress.version or (grant.model_version if grant else "")

    @property
    def spans(self) -> tuple[VersionSpan, ...]:
        """Which tokens so far came from which version of the model; empty if all came from one."""
        return self._progress.spans()

    @property
    def usage(self) -> worker_pb2.Usage:
        """Token counts so far, of all attempts together."""
        return self._attempt.usage()

    @property
    def prompt(self) -> worker_pb2.Started:
        """The token ids and log probabilities of the prompt, if the request asks for them. Known once it has begun."""
        return self._progress.prompt

    @property
    def resumable(self) -> bool:
        """Another worker with the same version could continue it exactly. Known once it has begun."""
        return self._progress.resumable

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        """States of the caller's limits, once the router has replied."""
        return self._attempt.limits or self._limits

    @property
    def service_class(self) -> ServiceClass:
        """The class that it is served in; the router decides."""
        grant = self._attempt.grant
        if grant and grant.service_class:
            return ServiceClass.of_proto(grant.service_class)
        return self.generation.service_class

    @property
    def queued(self) -> router_pb2.Queued | None:
        """The last place in the queue that the router told of; None while it does not wait there."""
        return None if self._attempt.grant else self._attempt.queued

    def interrupt(self, error: Exception) -> None:
        """Makes `begin` and `read` raise `error`."""
        self._mailbox.interrupt(error)

    def observe(self, observer: DeltaObserver) -> None:
        """Shows `observer` everything that the client gets. Call this once, before `begin`."""
        self._observer = observer

    async def begin(self) -> None:
        """Waits for the first tokens, whichever worker they come from. If cancelled, it may be called again.

        Raises:
            TidegateError: the request was refused, or it failed.
        """
        self._submit()
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read()
        self._observe_first_token()

    async def admit(self) -> None:
        """Waits until the router has queued or granted the request. If cancelled, it may be called again.

        Raises:
            TidegateError: the request was refused, or it failed.
        """
        self._submit()
        while not self._attempt.accepted and not self._attempt.ended:
            await self._read()

    def _submit(self) -> None:
        """Asks the router for a worker; only the first call does."""
        if self._submitted:
            return
        self._submitted = True
        if self._progress.complete:
            self._attempt.complete()
        else:
            self._attempt.submit(self._time_left())

    def deliver_to(self, sink: DeltaSink) -> None:
        """Lets `sink` have deltas in the moment they arrive while `read` waits, without a switch to the reader's task.

        `read` does not return what the sink has taken. Call this once, after `begin`.
        """
        observer = self._observer

        def take(deltas: list[worker_pb2.Delta]) -> bool:
            # The first tokens after a gap go through `read`, where the gap is measured.
            if self._broken_at is not None or not sink(deltas):
                return False
            if observer:
                observer(deltas)
            self._attempt.take(deltas)
            return True

        self._mailbox.deliver_to(take)

    async def read(self) -> list[worker_pb2.Delta]:
        """Returns the deltas that came since the last call; none: the answer is complete.

        The call also says that the client has the deltas of the call before.

        Raises:
            TidegateError: the answer cannot be completed.
        """
        self._attempt.delivered(self._handed_out)
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read()
        self._handed_out, self._attempt.deltas = self._attempt.deltas, []
        if not self._handed_out:
            # Before the client learns that the answer is complete: what the client counts then is in the ledger.
            self._end("completed")
        if self._observer:
            self._observer(self._handed_out)
        return self._handed_out

    def close(self, cause: BaseException | None) -> None:
        """Frees what the generation holds and writes down how it ended.

        Args:
            cause: the error that ended it; None when its reader left without one.
        """
        if cause is None and self._attempt.ended:
            ending = (router_pb2.OUTCOME_COMPLETED, worker_pb2.CANCEL_REASON_UNSPECIFIED)
        else:
            ending = _ENDINGS.get(type(cause or GeneratorExit()), _FAILED)
        if self._attempt.accepted:
            self._entry.accept()
        self._end(_OUTCOMES[ending[0]])
        if self._trace:
            self._trace.end(_OUTCOMES[ending[0]], self.version, self.usage)
        self._attempt.close(*ending)
        # The sink refers to this stream. Breaking the circle frees the memory now, not at a rare garbage collection.
        self._mailbox.deliver_to(None)

    async def _read(self) -> None:
        await self._submit_when_due()
        try:
            await self._attempt.read()
        except WorkerFailed as failure:
            self._entry.accept()
            if self._progress.complete:
                self._attempt.complete()
            else:
                self._try_again(failure)
        if self._attempt.accepted:
            self._entry.accept()
        self._observe_resumption()

    def _try_again(self, failure: WorkerFailed) -> None:
        """Raises the error for the client when no other worker can help."""
        log.info("attempt failed", extra={"reason": failure.reason, **self._names()})
        if self._trace:
            self._trace.failed(failure, begun=self._progress.begun)
        self._retries.after(failure, self._progress)
        if failure.cause is FailureCause.PREEMPTED:
            self._attempt.close(router_pb2.OUTCOME_YIELDED, worker_pb2.CANCEL_REASON_PREEMPTED)
        else:
            self._attempt.close(router_pb2.OUTCOME_RETRYING, worker_pb2.CANCEL_REASON_SUPERSEDED)
        if self._progress.begun and self._broken_at is None:
            self._broken_at = self._clock.monotonic()
        self._metrics.retries.labels(failure.reason).inc()
        self._limits = self.limits
        unread = self._attempt.deltas
        self._attempt = self._new_attempt()
        self._attempt.deltas = unread
        if self._retries.pause_s:
            self._due_at = self._clock.monotonic() + self._retries.pause_s
        else:
            self._attempt.submit(self._time_left())

    async def _submit_when_due(self) -> None:
        """Submits an attempt that has to wait before. If cancelled, it may be called again."""
        if self._due_at is not None:
            await self._clock.sleep(max(0.0, self._due_at - self._clock.monotonic()))
            self._due_at = None
            self._attempt.submit(self._time_left())

    def _observe_resumption(self) -> None:
        if self._broken_at is not None and self._attempt.has_brought_tokens:
            self._metrics.resume_gap.observe(self._clock.monotonic() - self._broken_at)
            self._broken_at = None
            if self._trace:
                self._trace.tokens_came()

    def _new_attempt(self) -> Attempt:
        return Attempt(
            self.generation,
            self._retries,
            self._progress,
            self._router,
            self._workers,
            self._mailbox,
            self._trace,
            self._clock,
        )

    def _names(self) -> dict[str, str]:
        """What log lines about the request have in common."""
        trace = {"trace_id": self._trace.trace_id} if self._trace else {}
        return {"request_id": self.generation.id, **trace}

    def _end(self, outcome: Outcome) -> None:
        """Writes down how the generation ended and what it used. Only the first call counts."""
        if self._ended:
            return
        self._ended = True
        used = self._used()
        self._entry.end(outcome, used)
        tokens = used.usage.completion_tokens
        self._metrics.generated(self.generation.model.id, tokens)
        if outcome == "completed" and self._began_at is not None:
            self._observe_pace(tokens / self._progress.choices_expected, self._began_at)

    def _used(self) -> UsedResources:
        """What was generated here: tokens that the client had from another gateway are not charged again."""
        grant, usage = self._attempt.grant, self.usage
        usage.completion_tokens -= min(self._tokens_before, usage.completion_tokens)
        return UsedResources(self.version, self.service_class, usage, grant.queue_wait_ms if grant else 0)

    def _time_left(self) -> float:
        return max(0.0, self._opened_at + self.generation.timeout_s - self._clock.monotonic())

    def _observe_first_token(self) -> None:
        self._entry.first_token()
        if self._trace:
            self._trace.tokens_came()
        model, service_class = self.generation.model, self.service_class
        self._began_at = self._clock.monotonic()
        objectives_s = model.ttft_objectives_s
        objective_s = objectives_s[service_class] if objectives_s else math.inf
        self._metrics.began((model.id, model.pool, service_class.label), self._began_at - self._opened_at, objective_s)

    def _observe_pace(self, tokens: float, began_at: float) -> None:
        """`tokens`: of each choice."""
        if tokens > 1:
            model = self.generation.model
            seconds = (self._clock.monotonic() - began_at) / (tokens - 1)
            self._metrics.paced((model.id, model.pool, self.service_class.label), seconds)


class Generations:
    """Opens generation streams, as many at once as the gateway can hold."""

    def __init__(
        self,
        router: RouterClient,
        workers: WorkerClient,
        *,
        clock: Clock,
        metrics: Metrics,
        ledger: LedgerWriter,
        max_open: int,
        tracing: Tracing | None = None,
    ) -> None:
        self._router, self._workers = router, workers
        self._clock, self._metrics, self._ledger = clock, metrics, ledger
        self._max_open, self._open, self._tracing = max_open, 0, tracing

    @contextmanager
    def open(self, generation: Generation, progress: Progress | None = None) -> Iterator[GenerationStream]:
        """Opens the stream of one generation.

        Args:
            generation: its time limit interrupts the stream.
            progress: how much the client has of the answer already.

        Raises:
            Overloaded: too many streams are open, or the ledger takes no more requests.
        """
        if self._open >= self._max_open:
            raise Overloaded("The gateway holds too many requests. Please try again.", retry_after_s=1.0)
        self._ledger.check()
        stream = GenerationStream(
            generation,
            self._router,
            self._workers,
            self._clock,
            self._metrics,
            self._ledger,
            progress,
            self._tracing,
        )
        late = DeadlineExceeded(f"The answer was not complete within {generation.timeout_s:g} s.")
        timer = asyncio.get_running_loop().call_later(generation.timeout_s, stream.interrupt, late)
        self._count(+1)
        cause: BaseException | None = None
        try:
            yield stream
        except BaseException as error:
            cause = error
            raise
        finally:
            timer.cancel()
            self._count(-1)
            stream.close(cause)

    def _count(self, change: int) -> None:
        self._open += change
        self._metrics.open_requests.set(self._open)
