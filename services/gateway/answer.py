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

from services.gateway.attempt import MAX_UNREAD_ITEMS, Attempt
from services.gateway.generation import Generation
from services.gateway.inbox import Inbox
from services.gateway.metrics import Metrics
from services.gateway.retry import Retries, WorkerFailed
from services.gateway.router_client import RouterClient
from services.gateway.worker_client import WorkerClient
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
_FAILED = (router_pb2.OUTCOME_FAILED, worker_pb2.CANCEL_REASON_SUPERSEDED)


class Answer:
    def __init__(
        self, generation: Generation, router: RouterClient, workers: WorkerClient, clock: Clock, metrics: Metrics
    ) -> None:
        self.generation = generation
        self._router, self._workers = router, workers
        self._clock, self._metrics = clock, metrics
        self._opened_at = clock.monotonic()
        self._retries = Retries()
        self._inbox = Inbox(MAX_UNREAD_ITEMS)
        self._attempt = self._new_attempt()
        self._handed_out: list[worker_pb2.Delta] = []

    @property
    def version(self) -> str:
        return self._attempt.version

    @property
    def usage(self) -> worker_pb2.Usage:
        return self._attempt.usage()

    @property
    def service_class(self) -> ServiceClass:
        """The class that it was served in, which is the router's to say."""
        grant = self._attempt.grant
        if grant and grant.service_class:
            return ServiceClass.of_proto(grant.service_class)
        return self.generation.service_class

    def interrupt(self, error: Exception) -> None:
        """Whoever waits for the next tokens gets `error` instead."""
        self._inbox.interrupt(error)

    async def begin(self) -> None:
        """Waits for the first tokens, on one worker or another. Raises TidegateError."""
        self._attempt.submit(self._time_left())
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read()
        self._observe_first_token()

    async def read(self) -> list[worker_pb2.Delta]:
        """All deltas that have come since the last call; none: the answer is complete. Raises TidegateError.

        Calling again says that the client has taken the ones before.
        """
        self._attempt.delivered(self._handed_out)
        while not self._attempt.deltas and not self._attempt.ended:
            await self._read()
        self._handed_out, self._attempt.deltas = self._attempt.deltas, []
        return self._handed_out

    def close(self, cause: BaseException | None) -> None:
        if cause is None and self._attempt.ended:
            ending = (router_pb2.OUTCOME_COMPLETED, worker_pb2.CANCEL_REASON_UNSPECIFIED)
        else:
            ending = _ENDINGS.get(type(cause or GeneratorExit()), _FAILED)
        self._attempt.close(*ending)
        self._metrics.tokens.labels(self.generation.model.id).inc(self.usage.completion_tokens)

    async def _read(self) -> None:
        try:
            await self._attempt.read()
        except WorkerFailed as failure:
            self._try_again(failure)

    def _try_again(self, failure: WorkerFailed) -> None:
        """Raises the error for the client when no other worker can help."""
        log.info("attempt failed", extra={"request_id": self.generation.id, "reason": failure.reason})
        self._retries.after(failure, delivered=bool(self._attempt.progress.token_ids))
        outcome = router_pb2.OUTCOME_YIELDED if failure.yielded else router_pb2.OUTCOME_RETRYING
        self._attempt.close(outcome, worker_pb2.CANCEL_REASON_SUPERSEDED)
        self._metrics.retries.labels(failure.reason).inc()
        self._attempt = self._new_attempt()
        self._attempt.submit(self._time_left())

    def _new_attempt(self) -> Attempt:
        return Attempt(self.generation, self._retries, self._router, self._workers, self._inbox)

    def _time_left(self) -> float:
        return max(0.0, self._opened_at + self.generation.timeout_s - self._clock.monotonic())

    def _observe_first_token(self) -> None:
        self._metrics.ttft.labels(self.generation.model.id).observe(self._clock.monotonic() - self._opened_at)
        if grant := self._attempt.grant:
            self._metrics.queue_wait.labels(self.service_class.label).observe(grant.queue_wait_ms / 1000)


class Answers:
    """Opens answers, as many at once as the gateway can hold."""

    def __init__(
        self, router: RouterClient, workers: WorkerClient, *, clock: Clock, metrics: Metrics, max_open: int
    ) -> None:
        self._router, self._workers = router, workers
        self._clock, self._metrics, self._max_open = clock, metrics, max_open
        self._open = 0

    @contextmanager
    def open(self, generation: Generation) -> Iterator[Answer]:
        """Raises Overloaded when too many are open. Its own time limit interrupts the answer."""
        if self._open >= self._max_open:
            raise Overloaded("The gateway holds too many requests. Please try again.", retry_after_s=1.0)
        answer = Answer(generation, self._router, self._workers, self._clock, self._metrics)
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
