"""Generations with the response cache in front: opt-in, exact, for deterministic requests, by tenant and version."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.gateway.domain.usage import LedgerEntry, LedgerWriter, UsedResources
from services.gateway.generation.generation_stream import Generations
from services.gateway.generation.progress import NO_PROMPT, Progress
from services.gateway.generation.token_stream import TokenStream
from services.gateway.response_cache.policy import CacheDirective, cache_key, cacheable, served_version
from services.gateway.response_cache.store import CachedResponse, ResponseStore, size_of
from services.gateway.upstream.mailbox import DeltaSink
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# Returned by one read: a slow reader waits for the rest, as it would for a worker's.
DELTAS_A_READ = 64


class CachedGenerations:
    """Opens token streams from the cache where that is allowed, else from a worker.

    Args:
        stores: by pool; a pool without a store has no cache.
        latest_catalog: what the router last told of its pools.
    """

    def __init__(
        self,
        generations: Generations,
        stores: Mapping[str, ResponseStore],
        latest_catalog: Callable[[], Catalog | None],
        ledger: LedgerWriter,
        registry: CollectorRegistry,
    ) -> None:
        self._generations, self._stores, self._latest_catalog = generations, stores, latest_catalog
        self._ledger = ledger
        self._outcomes = Counter(
            "tidegate_gateway_cache_requests_total",
            "Requests that asked for the response cache, by outcome",
            ["outcome"],
            registry=registry,
        )
        size = Gauge("tidegate_gateway_cache_bytes", "Memory that cached responses take", registry=registry)
        size.set_function(lambda: sum(store.size for store in stores.values()))

    @contextmanager
    def open(
        self, generation: Generation, progress: Progress | None = None, directive: CacheDirective | None = None
    ) -> Iterator[TokenStream]:
        """Opens the stream of one generation.

        Args:
            generation: the request.
            progress: how much the client has of the answer already; such a request never comes from the cache.
            directive: the client's; its outcome is set before the block is entered. None: no cache.

        Raises:
            Overloaded: too many streams are open, or the ledger takes no more requests.
        """
        version = self._cacheable_version(generation) if directive and progress is None else None
        if directive is None or version is None:
            self._count(directive)
            with self._generations.open(generation, progress) as stream:
                yield stream
            return
        store, key = self._stores[generation.model.pool], cache_key(generation, version)
        response = store.get(key)
        directive.outcome = "hit" if response else "miss"
        self._count(directive)
        opened = self._replay(generation, response) if response else self._record(generation, store, key, version)
        with opened as stream:
            yield stream

    def _cacheable_version(self, generation: Generation) -> str | None:
        """The version that would answer, if the request may come from the cache."""
        catalog = self._latest_catalog()
        if catalog is None or generation.model.pool not in self._stores or not cacheable(generation.sampling):
            return None
        return served_version(generation, catalog)

    @contextmanager
    def _replay(self, generation: Generation, response: CachedResponse) -> Iterator[TokenStream]:
        self._ledger.check()
        stream = ReplayedStream(generation, response, self._ledger.open(generation))
        try:
            yield stream
        finally:
            stream.close()

    @contextmanager
    def _record(self, generation: Generation, store: ResponseStore, key: bytes, version: str) -> Iterator[TokenStream]:
        """Keeps the answer only if the version that gave it is the one that it was looked for under."""
        recording = Recording(store.largest)
        with self._generations.open(generation) as stream:
            stream.observe(recording.take)
            yield stream
            if recording.complete and stream.version == version and not stream.spans:
                store.put(key, CachedResponse(tuple(recording.deltas), stream.usage, version))

    def _count(self, directive: CacheDirective | None) -> None:
        if directive:
            self._outcomes.labels(directive.outcome).inc()


class Recording:
    """The deltas of a stream as its client gets them.

    Args:
        largest: bytes; a longer answer is given up.

    Attributes:
        complete: the answer has come to its end and is whole here.
    """

    def __init__(self, largest: int) -> None:
        self._bytes_left = largest
        self.deltas: list[worker_pb2.Delta] = []
        self.complete = False

    def take(self, deltas: list[worker_pb2.Delta]) -> None:
        """Keeps copies: an original keeps the memory of the whole message that brought it. Empty: the answer's end."""
        self.complete = not deltas and self._bytes_left >= 0
        self._bytes_left -= sum(map(size_of, deltas))
        if self._bytes_left < 0:
            self.deltas.clear()
            return
        for delta in deltas:
            copy = worker_pb2.Delta()
            copy.CopyFrom(delta)
            self.deltas.append(copy)


class ReplayedStream:
    """A cached response as a token stream (TokenStream says what its members mean): no router, no worker, no slot."""

    resumable = False
    queued = None
    prompt = NO_PROMPT
    spans = ()

    def __init__(self, generation: Generation, response: CachedResponse, entry: LedgerEntry) -> None:
        self.generation, self._response, self._entry = generation, response, entry
        self._unread = iter(response.deltas)
        self._error: Exception | None = None

    @property
    def version(self) -> str:
        """Version of the model that gave the answer."""
        return self._response.version

    @property
    def model_version(self) -> str:
        """The same: answers of adapters are not cached."""
        return self._response.version

    @property
    def usage(self) -> worker_pb2.Usage:
        """The answer's own, with all tokens of the prompt cached."""
        usage = worker_pb2.Usage()
        usage.CopyFrom(self._response.usage)
        usage.cached_tokens = usage.prompt_tokens
        return usage

    @property
    def limits(self) -> list[router_pb2.LimitState]:
        """None: a hit counts against no limit."""
        return []

    @property
    def service_class(self) -> ServiceClass:
        """The request's own."""
        return self.generation.service_class

    def interrupt(self, error: Exception) -> None:
        """Makes `read` raise `error`."""
        self._error = error

    async def admit(self) -> None:
        """Returns at once."""

    async def begin(self) -> None:
        """Returns at once."""
        self._entry.accept()
        self._entry.first_token()

    def deliver_to(self, sink: DeltaSink) -> None:
        """Does nothing: `read` never waits, so no delta arrives meanwhile."""

    async def read(self) -> list[worker_pb2.Delta]:
        """Returns the next deltas without waiting; none: the answer is complete.

        Raises:
            Exception: what it was interrupted with.
        """
        if self._error:
            raise self._error
        deltas = list(islice(self._unread, DELTAS_A_READ))
        if not deltas:
            self._entry.end("completed", self._used())
        return deltas

    def close(self) -> None:
        """Notes that the client left, unless the answer was complete."""
        self._entry.end("cancelled", self._used())

    def _used(self) -> UsedResources:
        """Nothing was computed: the prompt is cached, and no token was generated."""
        prompt = self._response.usage.prompt_tokens
        usage = worker_pb2.Usage(prompt_tokens=prompt, cached_tokens=prompt)
        return UsedResources(self.version, self.service_class, usage, 0)
