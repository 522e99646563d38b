"""Generations with the response cache in front: opt-in, exact, for deterministic requests, by tenant and version."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.gateway.generation.generation_stream import Generations
from services.gateway.generation.progress import Progress
from services.gateway.generation.token_stream import TokenStream
from services.gateway.ledger.entry import LedgerEntry
from services.gateway.ledger.ledger import LedgerWriter
from services.gateway.response_cache.directive import CacheDirective
from services.gateway.response_cache.key import deterministic, key_of, served_version
from services.gateway.response_cache.recording import RecordingStream
from services.gateway.response_cache.replay import ReplayedStream
from services.gateway.response_cache.store import CachedResponse, ResponseStore
from services.shared.clock import Clock


class CachedGenerations:
    """stores: by pool; a pool without one has no cache. latest: the catalog as last heard from a router."""

    def __init__(
        self,
        answers: Generations,
        stores: Mapping[str, ResponseStore],
        latest: Callable[[], Catalog | None],
        books: LedgerWriter,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._answers, self._stores, self._latest = answers, stores, latest
        self._books, self._clock = books, clock
        self._outcomes = Counter(
            "tidegate_gateway_cache_requests_total",
            "Requests that wished for the response cache, by what became of that",
            ["outcome"],
            registry=registry,
        )
        size = Gauge("tidegate_gateway_cache_bytes", "Memory that kept answers take", registry=registry)
        size.set_function(lambda: sum(store.size for store in stores.values()))

    @contextmanager
    def open(
        self, generation: Generation, progress: Progress | None = None, wish: CacheDirective | None = None
    ) -> Iterator[TokenStream]:
        """As Generations.open; `wish` is told what became of it."""
        version = self._cacheable(generation) if wish and progress is None else None
        if wish is None or version is None:
            self._count(wish)
            with self._answers.open(generation, progress) as answer:
                yield answer
            return
        store, key = self._stores[generation.model.pool], key_of(generation, version)
        kept = store.get(key)
        wish.outcome = "hit" if kept else "miss"
        self._count(wish)
        with self._replayed(generation, kept) if kept else self._recorded(generation, store, key, version) as answer:
            yield answer

    def _cacheable(self, generation: Generation) -> str | None:
        """The version that it would be answered with, where it may come from the cache."""
        catalog = self._latest()
        if catalog is None or generation.model.pool not in self._stores or not deterministic(generation.sampling):
            return None
        return served_version(generation, catalog)

    @contextmanager
    def _replayed(self, generation: Generation, kept: CachedResponse) -> Iterator[TokenStream]:
        """Raises Overloaded when no further request could be written down."""
        self._books.check()
        answer = ReplayedStream(generation, kept, LedgerEntry(generation, self._books, self._clock))
        try:
            yield answer
        finally:
            answer.close()

    @contextmanager
    def _recorded(
        self, generation: Generation, store: ResponseStore, key: bytes, version: str
    ) -> Iterator[TokenStream]:
        """Kept only if the version is still the one that it was looked for under."""
        with self._answers.open(generation) as answer:
            recorded = RecordingStream(answer, store.largest)
            yield recorded
            if (kept := recorded.kept) and kept.version == version:
                store.put(key, kept)

    def _count(self, wish: CacheDirective | None) -> None:
        if wish:
            self._outcomes.labels(wish.outcome).inc()
