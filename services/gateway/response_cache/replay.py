"""An answer that was given before, read once more: no router, no worker, no slot."""

from itertools import islice

from services.gateway.domain.generation import Generation
from services.gateway.ledger.entry import LedgerEntry, UsedResources
from services.gateway.response_cache.store import CachedResponse
from services.gateway.upstream.mailbox import DeltaSink
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# Read at once: a slow reader waits for the rest, as it would for a worker's.
DELTAS_AT_ONCE = 64


class ReplayedStream:
    resumable = False
    queued = None

    def __init__(self, generation: Generation, kept: CachedResponse, entry: LedgerEntry) -> None:
        self.generation, self._kept, self._entry = generation, kept, entry
        self._unread = iter(kept.deltas)
        self._error: Exception | None = None

    @property
    def version(self) -> str:
        return self._kept.version

    @property
    def usage(self) -> worker_pb2.Usage:
        """The answer's own, with a prompt that cost nothing."""
        usage = worker_pb2.Usage()
        usage.CopyFrom(self._kept.usage)
        usage.cached_tokens = usage.prompt_tokens
        return usage

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        """It counts against none."""
        return []

    @property
    def service_class(self) -> ServiceClass:
        return self.generation.service_class

    def interrupt(self, error: Exception) -> None:
        self._error = error

    async def begin(self) -> None:
        self._entry.accept()
        self._entry.first_token()

    async def read(self, at_once: DeltaSink | None = None) -> list[worker_pb2.Delta]:
        """Never waits. Raises the error that it was interrupted with."""
        if self._error:
            raise self._error
        deltas = list(islice(self._unread, DELTAS_AT_ONCE))
        if not deltas:
            self._entry.end("completed", self._used())
        return deltas

    def close(self) -> None:
        """A second end says nothing more."""
        self._entry.end("cancelled", self._used())

    def _used(self) -> UsedResources:
        """Nothing was computed: the prompt is cached, and no token was generated."""
        prompt = self._kept.usage.prompt_tokens
        usage = worker_pb2.Usage(prompt_tokens=prompt, cached_tokens=prompt)
        return UsedResources(self.version, self.service_class, usage, 0)
