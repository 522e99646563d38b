"""What a replica does of its own accord: renew leases, reap, deliver the outbox, keep the census."""

import logging
from collections import Counter
from random import Random

from redis.exceptions import RedisError

from services.router.census import Census, PoolRow, count
from services.router.events import decode_event
from services.router.metrics import RouterMetrics
from services.router.queue import PoolQueue
from services.router.settings import RouterSettings
from services.router.store import Store, StoreUnavailable
from services.router.switchboard import Switchboard
from services.shared.backoff import backoff
from services.shared.clock import Clock
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

OUTBOX_WAIT_S = 1
OUTBOX_BATCH = 256
CENSUS_S = 0.5
VERSION_DIGITS = 12
WORKER_STATES = ("loading", "ready", "draining", "stuck", "swapping", "detached")


class Upkeep:
    def __init__(
        self,
        router_id: str,
        queues: dict[str, PoolQueue],
        *,
        store: Store,
        settings: RouterSettings,
        switchboard: Switchboard,
        census: Census,
        metrics: RouterMetrics,
        clock: Clock,
        random: Random,
    ) -> None:
        self._queues = queues
        self._store = store
        self._settings = settings
        self._switchboard = switchboard
        self._census = census
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._outboxes = [queue.keys.outbox + router_id for queue in queues.values()]
        self._failures_seen = store.failures
        self.last_success = clock.monotonic()

    async def keep_leases(self) -> None:
        """Renews and reaps, jittered so that replicas take turns, until cancelled."""
        while True:
            try:
                for queue in self._queues.values():
                    await self._renew(queue)
                    await queue.reap()
                self._after_success()
            except StoreUnavailable as error:
                log.warning("Redis does not answer", extra={"why": str(error)})
            await self._clock.sleep(self._settings.upkeep_ms / 1000 * self._random.uniform(0.5, 1.5))

    async def _renew(self, queue: PoolQueue) -> None:
        if session_ids := self._switchboard.session_ids:
            self._switchboard.drop(await queue.renew(session_ids), "Redis does not know the session")

    def _after_success(self) -> None:
        """An answer that was lost on its way may have been a grant: let gateways ask again for all they want."""
        self.last_success = self._clock.monotonic()
        if self._store.failures != self._failures_seen:
            self._failures_seen = self._store.failures
            self._switchboard.drop(self._switchboard.session_ids, "Redis was away")

    async def empty_outbox(self) -> None:
        """Delivers what other replicas' scripts left for this one, until cancelled."""
        delays = backoff(self._random)
        while True:
            try:
                await self._empty_once()
                delays = backoff(self._random)
            except (RedisError, OSError):
                await self._clock.sleep(next(delays))

    async def _empty_once(self) -> None:
        popped = await self._store.client.blpop(self._outboxes, timeout=OUTBOX_WAIT_S)
        if popped is None:
            return
        outbox, first = popped
        rest = await self._store.client.lpop(outbox, OUTBOX_BATCH) or []
        for document in (first, *rest):
            self._switchboard.deliver(decode_event(document))

    async def keep_census(self) -> None:
        """Reads the state of every pool, until cancelled."""
        while True:
            try:
                await self.take_census()
            except (RedisError, OSError) as error:
                log.warning("no census", extra={"why": str(error)})
            await self._clock.sleep(CENSUS_S)

    async def take_census(self) -> None:
        """Raises RedisError."""
        rows = [await count(self._store.client, queue.keys) for queue in self._queues.values()]
        if self._census.update(rows):
            self._switchboard.broadcast(pb.DispatchResponse(catalog=self._census.catalog))
        for row in rows:
            self._measure(row)
        memory = await self._store.client.info("memory")
        self._metrics.redis_memory.set(memory["used_memory"])
        self._metrics.redis_memory_limit.set(memory["maxmemory"])

    def _measure(self, row: PoolRow) -> None:
        self._metrics.granted.labels(row.pool).set(row.granted)
        for service_class, queued in row.queued.items():
            self._metrics.queued.labels(row.pool, service_class.label).set(queued)
        versions = Counter(worker.heartbeat.model_version[:VERSION_DIGITS] for worker in row.workers)
        self._metrics.count_versions(row.pool, versions)
        for state in WORKER_STATES:
            self._metrics.workers.labels(row.pool, state).set(sum(w.state == state for w in row.workers))
