"""The life of a request: submitted, granted, started, streamed, finished, and tried again where that is still honest.

    with answers.open(generation) as answer:
        await answer.begin()                      # from here on the version is known and the first tokens are there
        while deltas := await answer.read():
            ...
        answer.usage

Leaving the block in whatever way frees the worker's slot and tells the router, once.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.domain.generation import Generation
from services.gateway.generation.attempt import MAX_UNREAD_ITEMS, Attempt
from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import Retries, WorkerFailed
from services.gateway.ledger.entry import LedgerEntry, UsedResources
from services.gateway.ledger.ledger import LedgerWriter
from services.gateway.ledger.row import Outcome
from services.gateway.metrics import Metrics
from services.gateway.upstream.mailbox import DeltaSink, Mailbox
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.worker_client import WorkerClient
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.errors import ClientLeft, DeadlineExceeded, Overloaded
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


class GenerationStream:
    def __init__(
        self,
        generation: Generation,
        router: RouterClient,
        workers: WorkerClient,
        clock: Clock,
        metrics: Metrics,
        books: LedgerWriter,
        progress: Progress | None = None,
    ) -> None:
        """progress: what the client has of it already, from another gateway."""
        self.generation = generation
        self._router, self._workers = router, workers
        self._clock, self._metrics = clock, metrics
        self._opened_at = clock.monotonic()
        self._entry = LedgerEntry(generation, books, clock)
        self._retries = Retries()
        self._progress = progress or Progress(wanted=generation.sampling.n or 1)
        self._tokens_before = self._progress.completion_tokens
        self._broken_at: float | None = None
        self._inbox = Mailbox(MAX_UNREAD_ITEMS)
        self._attempt = self._new_attempt()
        self._limits: list[router_pb2.LimitState] = []
        self._handed_out: list[worker_pb2.Delta] = []
        self._submitted = False

    @property
    def version(self) -> str:
        grant = self._attempt.grant
        return self._progress.version or (grant.model_version if grant else "")

    @property
    def usage(self) -> worker_pb2.Usage:
        return self._attempt.usage()

    @property
    def resumable(self) -> bool:
        """Another worker of its version could go on with it exactly; known once it has begun."""
        return self._progress.resumable

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        """Where the caller's limits stand, once the router has answered."""
        return self._attempt.limits or self._limits

    @property
    def service_class(self) -> ServiceClass:
        """The class that it was served in, which is the router's to say."""
        grant = self._attempt.grant
        if grant and grant.service_class:
            return ServiceClass.of_proto(grant.service_class)
        return self.generation.service_class

    @property
    def queued(self) -> router_pb2.Queued | None:
        """Its place in the queue as last heard; None while it is not waiting."""
        return None if self._attempt.grant else self._attempt.queued

    def interrupt(self, error: Exception) -> None:
        """Whoever waits for the next tokens gets `error` instead."""
        self._inbox.interrupt(error)

    async def begin(self) -> None:
        """Waits for the first tokens, whichever worker's. Cancelled, it may be called again. Raises TidegateError."""
        if not self._submitted:
            self._submitted = True
            if self._progress.complete:
                self._attempt.complete()
            else:
                self._attempt.submit(self._time_left())
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read()
        self._observe_first_token()

    async def read(self, at_once: DeltaSink | None = None) -> list[worker_pb2.Delta]:
        """All deltas that have come since the last call; none: the answer is complete. Raises TidegateError.

        Calling again says that the client has taken the ones before. While this waits, deltas may be given to
        `at_once` as they arrive, without a switch to the caller's task; what it takes is not returned.
        """
        self._attempt.delivered(self._handed_out)
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read(at_once)
        self._handed_out, self._attempt.deltas = self._attempt.deltas, []
        if not self._handed_out:
            # Before the client hears that the answer is whole: what it counts then is in the ledger, come what may.
            self._entry.end("completed", self._used())
        return self._handed_out

    def close(self, cause: BaseException | None) -> None:
        if cause is None and self._attempt.ended:
            ending = (router_pb2.OUTCOME_COMPLETED, worker_pb2.CANCEL_REASON_UNSPECIFIED)
        else:
            ending = _ENDINGS.get(type(cause or GeneratorExit()), _FAILED)
        if self._attempt.accepted:
            self._entry.accept()
        used = self._used()
        self._entry.end(_OUTCOMES[ending[0]], used)
        self._attempt.close(*ending)
        self._metrics.generated(self.generation.model.id, used.usage.completion_tokens)

    async def _read(self, at_once: DeltaSink | None = None) -> None:
        try:
            # The first tokens after a gap come here, where the gap is measured.
            await self._attempt.read(at_once if self._broken_at is None else None)
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
        log.info("attempt failed", extra={"request_id": self.generation.id, "reason": failure.reason})
        self._retries.after(failure, self._progress)
        if failure.yielded:
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
        self._attempt.submit(self._time_left())

    def _observe_resumption(self) -> None:
        if self._broken_at is not None and self._attempt.has_brought_tokens:
            self._metrics.resume_gap.observe(self._clock.monotonic() - self._broken_at)
            self._broken_at = None

    def _new_attempt(self) -> Attempt:
        return Attempt(self.generation, self._retries, self._progress, self._router, self._workers, self._inbox)

    def _used(self) -> UsedResources:
        """What was generated here: what the client had before is not charged again."""
        grant, usage = self._attempt.grant, self.usage
        usage.completion_tokens -= min(self._tokens_before, usage.completion_tokens)
        return UsedResources(self.version, self.service_class, usage, grant.queue_wait_ms if grant else 0)

    def _time_left(self) -> float:
        return max(0.0, self._opened_at + self.generation.timeout_s - self._clock.monotonic())

    def _observe_first_token(self) -> None:
        self._entry.first_token()
        self._metrics.began(self.generation.model.id, self._clock.monotonic() - self._opened_at)
        if grant := self._attempt.grant:
            self._metrics.waited(self.service_class.label, grant.queue_wait_ms / 1000)


class Generations:
    """Opens answers, as many at once as the gateway can hold."""

    def __init__(
        self,
        router: RouterClient,
        workers: WorkerClient,
        *,
        clock: Clock,
        metrics: Metrics,
        books: LedgerWriter,
        max_open: int,
    ) -> None:
        self._router, self._workers = router, workers
        self._clock, self._metrics, self._books = clock, metrics, books
        self._max_open, self._open = max_open, 0

    @contextmanager
    def open(self, generation: Generation, progress: Progress | None = None) -> Iterator[GenerationStream]:
        """Its own time limit interrupts the answer. progress: what the client has of it already.

        Raises Overloaded when too many are open, or no more can be accounted for.
        """
        if self._open >= self._max_open:
            raise Overloaded("The gateway holds too many requests. Please try again.", retry_after_s=1.0)
        self._books.check()
        answer = GenerationStream(
            generation, self._router, self._workers, self._clock, self._metrics, self._books, progress
        )
        late = DeadlineExceeded(f"The answer was not complete within {generation.timeout_s:g} s.")
        timer = asyncio.get_running_loop().call_later(generation.timeout_s, answer.interrupt, late)
        self._count(+1)
        cause: BaseException | None = None
        try:
            yield answer
        except BaseException as error:
            cause = error
            raise
        finally:
            timer.cancel()
            self._count(-1)
            answer.close(cause)

    def _count(self, change: int) -> None:
        self._open += change
        self._metrics.open_requests.set(self._open)
