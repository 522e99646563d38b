"""One try of a request on one worker: submitted, granted, started, read, finished."""

from dataclasses import dataclass, field

from services.gateway.generation import Generation
from services.gateway.inbox import Inbox, Item, WorkerLost
from services.gateway.refusals import failed, rejected
from services.gateway.retry import Retries, WorkerFailed
from services.gateway.router_client import RouterClient
from services.gateway.worker_client import WorkerClient, WorkerStream
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# Tokens that a worker may send ahead of the client, so that one stalled reader holds about 256 KiB at most, in the
# inbox and in the socket's buffer together. Tokens with log probabilities are up to twenty times as large.
CREDIT_TOKENS = 256
CREDIT_TOKENS_WITH_LOGPROBS = 32
MAX_UNREAD_ITEMS = 4 * CREDIT_TOKENS


@dataclass(slots=True)
class Progress:
    """What the worker has said so far, as far as the client has it: what a resumed attempt would start from."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    token_ids: dict[int, list[int]] = field(default_factory=dict)

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self.token_ids.values()))

    def deliver(self, deltas: list[worker_pb2.Delta]) -> int:
        """Notes what the client got; returns the number of tokens."""
        for delta in deltas:
            self.token_ids.setdefault(delta.choice, []).extend(delta.token_ids)
        return sum(len(delta.token_ids) for delta in deltas)


class Attempt:
    def __init__(
        self, generation: Generation, retries: Retries, router: RouterClient, workers: WorkerClient, inbox: Inbox
    ) -> None:
        self.number = retries.attempt
        self.progress = Progress()
        self.deltas: list[worker_pb2.Delta] = []
        self.grant: router_pb2.Grant | None = None
        self.ended: worker_pb2.Ended | None = None
        self.version = ""
        self._generation, self._retries = generation, retries
        self._router, self._workers, self._inbox = router, workers, inbox
        self._stream: WorkerStream | None = None
        self._stream_id = 0
        self._open = False
        self._window = _window(generation.sampling)
        self._uncredited = 0
        self._timeout_s = 0.0

    def submit(self, timeout_s: float) -> None:
        """timeout_s: how long the client still wants the answer."""
        self._open = True
        self._timeout_s = timeout_s
        self._router.submit(self._retries.mark(self._generation.submit(self.number, timeout_s=timeout_s)), self._inbox)

    async def read(self) -> None:
        """Takes what has come. Raises WorkerFailed, TidegateError, or whatever interrupted the request."""
        for item in await self._inbox.drain():
            self._take(item)

    def delivered(self, deltas: list[worker_pb2.Delta]) -> None:
        """The client has taken them: the worker may send as many tokens more."""
        self._uncredited += self.progress.deliver(deltas)
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
        """The worker's figures; until it has said them, what was seen."""
        if self.ended and self.ended.HasField("usage"):
            return self.ended.usage
        seen = self.progress
        return worker_pb2.Usage(
            prompt_tokens=seen.prompt_tokens,
            cached_tokens=seen.cached_tokens,
            completion_tokens=seen.completion_tokens + sum(len(delta.token_ids) for delta in self.deltas),
        )

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
                self.deltas.append(item)
            case worker_pb2.Ended():
                self._end(item)
            case router_pb2.Grant():
                self._start(item)
            case worker_pb2.Started():
                self.version = item.model_version or self.version
                self.progress.prompt_tokens = item.prompt_tokens
                self.progress.cached_tokens = item.cached_tokens
            case router_pb2.Reject():
                self._open = False
                raise rejected(item)
            case router_pb2.Yield():
                self._yield()
            case router_pb2.Revoke():
                reason = router_pb2.RevokeReason.Name(item.reason)
                raise self._failed(reason, died=item.reason != router_pb2.REVOKE_REASON_UNSPECIFIED)
            case WorkerLost():
                raise self._failed("connection lost", died=True)

    def _start(self, grant: router_pb2.Grant) -> None:
        self.grant, self.version = grant, grant.model_version
        self._stream_id = self._workers.mint_stream_id()
        self._stream = self._workers.stream_to(grant)
        start = self._generation.start(self._stream_id, grant, timeout_s=self._timeout_s, credit=self._window)
        self._stream.start(start, self._inbox)

    def _end(self, ended: worker_pb2.Ended) -> None:
        self.ended = ended
        if not ended.HasField("failure"):
            return
        if error := failed(ended.failure):
            raise error
        raise WorkerFailed.by(ended.failure, self.grant.worker_id if self.grant else "")

    def _yield(self) -> None:
        """Only work that has shown nothing yet can start over elsewhere; the rest keeps its slot."""
        if not self.deltas and not self.progress.token_ids:
            raise self._failed("yielded", yielded=True)

    def _failed(self, reason: str, *, died: bool = False, yielded: bool = False) -> WorkerFailed:
        worker_id = self.grant.worker_id if self.grant else ""
        return WorkerFailed(reason, worker_id=worker_id, died=died, yielded=yielded)


def _window(sampling: worker_pb2.Sampling) -> int:
    return CREDIT_TOKENS_WITH_LOGPROBS if sampling.HasField("top_logprobs") else CREDIT_TOKENS
