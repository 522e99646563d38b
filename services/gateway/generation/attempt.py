"""One attempt at a generation on one worker: submitted, granted, started, read, finished."""

from collections.abc import Iterable

from services.gateway.domain.generation import Generation
from services.gateway.generation import messages
from services.gateway.generation.error_mapping import failed, rejected
from services.gateway.generation.observation import Observation
from services.gateway.generation.progress import Progress
from services.gateway.generation.request_trace import RequestTrace
from services.gateway.generation.retry import FailureCause, Retries, WorkerFailed
from services.gateway.upstream.mailbox import Item, Mailbox, WorkerLost
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.worker_client import WorkerClient, WorkerStream
from services.shared.clock import Clock
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# Tokens that a worker may send ahead of the client, so that one stalled reader holds about 256 KiB at most, in the
# mailbox and in the socket's buffer together. Tokens with log probabilities are up to twenty times as large.
CREDIT_TOKENS = 256
CREDIT_TOKENS_WITH_LOGPROBS = 32
MAX_UNREAD_ITEMS = 4 * CREDIT_TOKENS
# Of an answer that its client gets in one piece. This much is generated again when its worker dies.
HELD_BACK_TOKENS = 32
HELD_BACK_MS = 500

_HANDOVERS: dict[int, FailureCause] = {
    worker_pb2.FAILURE_KIND_DRAINING: FailureCause.HANDED_OVER,
    worker_pb2.FAILURE_KIND_WRONG_VERSION: FailureCause.HANDED_OVER,
    worker_pb2.FAILURE_KIND_RECOMPUTE: FailureCause.RECOMPUTE,
    worker_pb2.FAILURE_KIND_HAND_OVER: FailureCause.HAND_OVER,
}


class Attempt:
    """One attempt. Several attempts of a generation share one mailbox and one progress.

    Attributes:
        number: from 1.
        deltas: what came and was not handed on yet.
        grant: the router's; None until there is one.
        queued: the last place in the queue that the router told of; None before the first.
        limits: states of the caller's limits, as the router's first reply had them.
        ended: the worker's last message; None until there is one.
    """

    def __init__(
        self,
        generation: Generation,
        retries: Retries,
        progress: Progress,
        router: RouterClient,
        workers: WorkerClient,
        mailbox: Mailbox,
        trace: RequestTrace | None,
        clock: Clock,
    ) -> None:
        self.number = retries.attempt
        self.deltas: list[worker_pb2.Delta] = []
        self.grant: router_pb2.Grant | None = None
        self.queued: router_pb2.Queued | None = None
        self.limits: list[router_pb2.LimitState] = []
        self.ended: worker_pb2.Ended | None = None
        self._generation, self._retries, self._progress = generation, retries, progress
        self._tokens_before = progress.completion_tokens
        self._observation = Observation(generation, progress, clock)
        self._running = False
        self._router, self._workers, self._mailbox, self._trace = router, workers, mailbox, trace
        self._stream: WorkerStream | None = None
        self._stream_id = 0
        self._open = False
        self._window = _window(generation.sampling)
        self._uncredited = 0
        self._timeout_s = 0.0

    @property
    def accepted(self) -> bool:
        """The router has taken it: it was queued or granted."""
        return self.queued is not None or self.grant is not None

    @property
    def has_brought_tokens(self) -> bool:
        """This attempt itself has brought tokens."""
        return self._progress.completion_tokens > self._tokens_before

    def submit(self, timeout_s: float) -> None:
        """Asks the router for a worker.

        Args:
            timeout_s: how long the client still waits for the whole answer.
        """
        self._open = True
        self._timeout_s = timeout_s
        message = messages.submit(self._generation, self._retries, self._progress, timeout_s=timeout_s)
        if self._trace:
            message.trace_parent = self._trace.submitted(self.number)
        self._router.submit(message, self._mailbox)

    async def read(self) -> None:
        """Waits for items and handles them.

        Raises:
            WorkerFailed: the worker cannot finish the request.
            TidegateError: the request cannot be served, or was interrupted.
        """
        for item in await self._mailbox.drain():
            self._handle(item)

    def take(self, deltas: list[worker_pb2.Delta]) -> None:
        """Counts deltas of this attempt that went to the client in the moment they arrived, past `read`."""
        for delta in deltas:
            self._uncredited += self._progress.take(delta)
        self._give_credit()

    def delivered(self, deltas: list[worker_pb2.Delta]) -> None:
        """The client has these deltas: the worker may send as many tokens more."""
        for delta in deltas:
            if delta.attempt == self.number:
                self._uncredited += len(delta.token_ids)
        self._give_credit()

    def _give_credit(self) -> None:
        if self._stream and self._uncredited * 2 >= self._window and not self.ended:
            self._stream.credit(self._stream_id, self._uncredited)
            self._uncredited = 0

    def close(self, outcome: router_pb2.Outcome.ValueType, reason: worker_pb2.CancelReason.ValueType) -> None:
        """Frees slot and stream. The router is told exactly once, however the attempt ended.

        Args:
            outcome: for the router.
            reason: for the worker, if it is still at work.
        """
        if not self._open:
            return
        self._open = False
        if self._stream:
            cancel = worker_pb2.Cancel(stream_id=self._stream_id, attempt=self.number, reason=reason)
            self._stream.end(self._stream_id, None if self.ended else cancel)
        usage = self.usage()
        served = self._observation.message(outcome, self.grant, self.ended, usage.completion_tokens)
        self._router.finish(messages.finish(self._generation, self.number, outcome, usage, served))
        self._mailbox.clear()

    def usage(self) -> worker_pb2.Usage:
        """The worker's figures; until the worker has sent them, what was seen. Cached tokens are those of the start."""
        if not (self.ended and self.ended.HasField("usage")):
            return self._progress.usage()
        usage = worker_pb2.Usage()
        usage.CopyFrom(self.ended.usage)
        usage.cached_tokens = self._progress.cached_tokens
        return usage

    def complete(self) -> None:
        """Ends an attempt without its worker, because nothing of the answer is missing."""
        self.ended = worker_pb2.Ended(attempt=self.number)

    def _handle(self, item: Item) -> None:
        match item:
            case worker_pb2.Delta():
                self._observation.took(item)
                self._progress.take(item)
                self.deltas.append(item)
            case worker_pb2.Ended():
                self._end(item)
            case router_pb2.Grant():
                self._start(item)
            case router_pb2.Queued():
                self._queue(item)
            case worker_pb2.Started():
                self._running = True
                self._progress.start(item)
            case router_pb2.Reject():
                self._open = False
                self._note_limits(item.limits)
                raise rejected(item, self._generation.model.id, self._generation.cost.tokens)
            case router_pb2.Yield():
                self._preempt()
            case router_pb2.Revoke():
                raise self._failed(router_pb2.RevokeReason.Name(item.reason), self._cause_of(item.reason))
            case WorkerLost():
                raise self._lost(item)

    def _queue(self, queued: router_pb2.Queued) -> None:
        self.queued = queued
        self._note_limits(queued.limits)
        if self._trace:
            self._trace.queued(queued)

    def _start(self, grant: router_pb2.Grant) -> None:
        self.grant = grant
        self._observation.granted()
        self._note_limits(grant.limits)
        self._stream_id = self._workers.mint_stream_id()
        self._stream = self._workers.stream_to(grant)
        message = messages.start(
            self._generation,
            grant,
            self._stream_id,
            self._progress,
            timeout_s=self._timeout_s,
            credit_tokens=self._window,
            hold_back=_hold_back(self._generation, self._window),
        )
        if self._trace:
            message.trace_parent = self._trace.granted(grant)
        self._stream.start(message, self._mailbox)

    def _note_limits(self, limits: Iterable[router_pb2.LimitState]) -> None:
        """Only the router's first reply to a Submit has any."""
        self.limits = list(limits) or self.limits

    def _end(self, ended: worker_pb2.Ended) -> None:
        self.ended = ended
        self._observation.ended()
        if not ended.HasField("failure"):
            return
        if error := failed(ended.failure, self._generation.fields):
            raise error
        kind = ended.failure.kind
        cause = _HANDOVERS.get(kind, FailureCause.OTHER)
        if kind == worker_pb2.FAILURE_KIND_ENGINE:
            self._observation.fault = True
            cause = self._engine_died()
        raise self._failed(worker_pb2.FailureKind.Name(kind).removeprefix("FAILURE_KIND_").lower(), cause)

    def _preempt(self) -> None:
        """Work that could not be continued elsewhere keeps its slot."""
        if self._progress.resumable or not self._progress.begun:
            raise self._failed("yielded", FailureCause.PREEMPTED)

    def _cause_of(self, reason: router_pb2.RevokeReason.ValueType) -> FailureCause:
        if reason == router_pb2.REVOKE_REASON_WORKER_LOST and not self._running:
            return FailureCause.LOST_BEFORE_START
        return FailureCause.OTHER if reason == router_pb2.REVOKE_REASON_UNSPECIFIED else self._engine_died()

    def _lost(self, lost: WorkerLost) -> WorkerFailed:
        if not lost.reached:
            return self._failed("no connection", FailureCause.UNREACHABLE)
        return self._failed("connection lost", self._engine_died())

    def _engine_died(self) -> FailureCause:
        """An engine that died before it had the request did not die of it."""
        return FailureCause.ENGINE_DIED if self._running else FailureCause.OTHER

    def _failed(self, reason: str, cause: FailureCause) -> WorkerFailed:
        self._observation.fault = self._observation.fault or cause is FailureCause.ENGINE_DIED
        worker_id = self.grant.worker_id if self.grant else ""
        return WorkerFailed(reason, cause, worker_id=worker_id, gained=self.has_brought_tokens)


def _window(sampling: worker_pb2.Sampling) -> int:
    return CREDIT_TOKENS_WITH_LOGPROBS if sampling.HasField("top_logprobs") else CREDIT_TOKENS


def _hold_back(generation: Generation, window: int) -> worker_pb2.HoldBack | None:
    """At most half of the credit, so that what was held back can be sent whole while the gateway gives more.

    Vectors come at the end anyway.
    """
    if generation.stream or isinstance(generation.prompt, worker_pb2.Inputs):
        return None
    return worker_pb2.HoldBack(tokens=min(HELD_BACK_TOKENS, window // 2), ms=HELD_BACK_MS)
