"""One try of a request on one worker: submitted, granted, started, read, finished."""

from collections.abc import Iterable
from functools import partial

from services.gateway.domain.generation import Generation
from services.gateway.generation.error_mapping import failed, rejected
from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import Retries, WorkerFailed
from services.gateway.upstream.mailbox import DeltaSink, Item, Mailbox, WorkerLost
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.worker_client import WorkerClient, WorkerStream
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# Tokens that a worker may send ahead of the client, so that one stalled reader holds about 256 KiB at most, in the
# inbox and in the socket's buffer together. Tokens with log probabilities are up to twenty times as large.
CREDIT_TOKENS = 256
CREDIT_TOKENS_WITH_LOGPROBS = 32
MAX_UNREAD_ITEMS = 4 * CREDIT_TOKENS

_HANDOVERS = (worker_pb2.FAILURE_KIND_DRAINING, worker_pb2.FAILURE_KIND_WRONG_VERSION)


class Attempt:
    """`progress` goes on from attempt to attempt."""

    def __init__(
        self,
        generation: Generation,
        retries: Retries,
        progress: Progress,
        router: RouterClient,
        workers: WorkerClient,
        inbox: Mailbox,
    ) -> None:
        self.number = retries.attempt
        self.deltas: list[worker_pb2.Delta] = []
        self.grant: router_pb2.Grant | None = None
        self.queued: router_pb2.Queued | None = None
        self.limits: list[router_pb2.LimitState] = []
        self.ended: worker_pb2.Ended | None = None
        self._generation, self._retries, self._progress = generation, retries, progress
        self._tokens_before = progress.completion_tokens
        self._running = False
        self._router, self._workers, self._inbox = router, workers, inbox
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
        return self._progress.completion_tokens > self._tokens_before

    def submit(self, timeout_s: float) -> None:
        """timeout_s: how long the client still wants the answer."""
        self._open = True
        self._timeout_s = timeout_s
        submit = self._generation.submit(self.number, timeout_s=timeout_s)
        if self._progress.begun:
            submit.model_version = self._progress.version
        self._router.submit(self._retries.mark(submit), self._inbox)

    async def read(self, at_once: DeltaSink | None = None) -> None:
        """Takes what has come; `at_once` is offered deltas that come meanwhile, for the client.

        Raises WorkerFailed, TidegateError, or whatever interrupted the request.
        """
        for item in await self._inbox.drain(partial(self._deliver, at_once) if at_once else None):
            self._take(item)

    def delivered(self, deltas: list[worker_pb2.Delta]) -> None:
        """The client has taken them: the worker may send as many tokens more."""
        for delta in deltas:
            if delta.attempt == self.number:
                self._uncredited += len(delta.token_ids)
        if self._stream and self._uncredited * 2 >= self._window and not self.ended:
            self._stream.credit(self._stream_id, self._uncredited)
            self._uncredited = 0

    def close(self, outcome: router_pb2.Outcome.ValueType, reason: worker_pb2.CancelReason.ValueType) -> None:
        """Frees slot and stream; the router is told exactly once, whatever has become of the attempt."""
        if not self._open:
            return
        self._open = False
        if self._stream:
            cancel = worker_pb2.Cancel(stream_id=self._stream_id, attempt=self.number, reason=reason)
            self._stream.end(self._stream_id, None if self.ended else cancel)
        self._router.finish(self._finish(outcome))
        self._inbox.clear()

    def usage(self) -> worker_pb2.Usage:
        """The worker's figures; until it has said them, what was seen. Cached is what was cached at first."""
        if not (self.ended and self.ended.HasField("usage")):
            return self._progress.usage()
        usage = worker_pb2.Usage()
        usage.CopyFrom(self.ended.usage)
        usage.cached_tokens = self._progress.cached_tokens
        return usage

    def complete(self) -> None:
        """The worker was lost, but nothing of the answer is missing."""
        self.ended = worker_pb2.Ended(attempt=self.number)

    def _deliver(self, at_once: DeltaSink, deltas: list[worker_pb2.Delta]) -> bool:
        """Straight to the client, if it can take them."""
        if not at_once(deltas):
            return False
        for delta in deltas:
            self._progress.take(delta)
        self.delivered(deltas)
        return True

    def _finish(self, outcome: router_pb2.Outcome.ValueType) -> router_pb2.Finish:
        usage = self.usage()
        return router_pb2.Finish(
            request_id=self._generation.id,
            attempt=self.number,
            pool=self._generation.model.pool,
            outcome=outcome,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def _take(self, item: Item) -> None:
        match item:
            case worker_pb2.Delta():
                self._progress.take(item)
                self.deltas.append(item)
            case worker_pb2.Ended():
                self._end(item)
            case router_pb2.Grant():
                self._start(item)
            case router_pb2.Queued():
                self._wait(item)
            case worker_pb2.Started():
                self._running = True
                self._progress.start(item)
            case router_pb2.Reject():
                self._open = False
                self._note_limits(item.limits)
                asked = self._generation
                raise rejected(item, asked.model.id, asked.cost.tokens)
            case router_pb2.Yield():
                self._yield()
            case router_pb2.Revoke():
                reason = router_pb2.RevokeReason.Name(item.reason)
                lapsed = item.reason == router_pb2.REVOKE_REASON_WORKER_LOST
                raise self._failed(reason, died=item.reason != router_pb2.REVOKE_REASON_UNSPECIFIED, lapsed=lapsed)
            case WorkerLost():
                raise self._failed("connection lost", died=True)

    def _start(self, grant: router_pb2.Grant) -> None:
        self.grant = grant
        self._note_limits(grant.limits)
        self._stream_id = self._workers.mint_stream_id()
        self._stream = self._workers.stream_to(grant)
        start = self._generation.start(self._stream_id, grant, timeout_s=self._timeout_s, credit=self._window)
        start.resume.extend(self._progress.resume_points())
        self._stream.start(start, self._inbox)

    def _wait(self, queued: router_pb2.Queued) -> None:
        self.queued = queued
        self._note_limits(queued.limits)

    def _note_limits(self, limits: Iterable[router_pb2.LimitState]) -> None:
        """Only the first answer to a Submit has any."""
        self.limits = list(limits) or self.limits

    def _end(self, ended: worker_pb2.Ended) -> None:
        self.ended = ended
        if not ended.HasField("failure"):
            return
        if error := failed(ended.failure):
            raise error
        died = ended.failure.kind == worker_pb2.FAILURE_KIND_ENGINE
        handed_over = ended.failure.kind in _HANDOVERS
        reason = worker_pb2.FailureKind.Name(ended.failure.kind).removeprefix("FAILURE_KIND_").lower()
        raise self._failed(reason, died=died, handed_over=handed_over)

    def _yield(self) -> None:
        """Work that could not be continued elsewhere keeps its slot."""
        if self._progress.resumable or not self._progress.begun:
            raise self._failed("yielded", yielded=True)

    def _failed(
        self,
        reason: str,
        *,
        died: bool = False,
        handed_over: bool = False,
        yielded: bool = False,
        lapsed: bool = False,
    ) -> WorkerFailed:
        """An engine that died before it had the request in it did not die of it."""
        return WorkerFailed(
            reason,
            worker_id=self.grant.worker_id if self.grant else "",
            died=died and self._running,
            handed_over=handed_over,
            yielded=yielded,
            silent=lapsed and not self._running,
            gained=self.has_brought_tokens,
        )


def _window(sampling: worker_pb2.Sampling) -> int:
    return CREDIT_TOKENS_WITH_LOGPROBS if sampling.HasField("top_logprobs") else CREDIT_TOKENS
