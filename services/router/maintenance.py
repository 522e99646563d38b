"""What a replica does of its own accord: renew leases, reap, deliver the outbox, keep the census."""

import logging
from collections import Counter
from random import Random
from typing import Any

from redis.exceptions import RedisError

from services.router.core.class_rules import Rules
from services.router.metrics import RouterMetrics
from services.router.queue import frames
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.sessions import GatewaySession, Sessions
from services.router.queue.snapshot import PoolRow, Snapshot, count
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.settings import RouterSettings
from services.shared.backoff import backoff
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.config import Cluster
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

OUTBOX_WAIT_S = 1
OUTBOX_BATCH = 256
OUTLOOK_S = 2.0
OUTLOOK_BATCH = 256
CENSUS_S = 0.5
VERSION_DIGITS = 12
WORKER_STATES = ("loading", "ready", "draining", "stuck", "swapping", "detached")


class Maintenance:
    def __init__(
        self,
        router_id: str,
        queues: dict[str, PoolQueue],
        *,
        store: ScriptRunner,
        settings: RouterSettings,
        switchboard: Sessions,
        census: Snapshot,
        cluster: Cluster,
        metrics: RouterMetrics,
        clock: Clock,
        random: Random,
    ) -> None:
        self._queues = queues
        self._store = store
        self._settings = settings
        self._switchboard = switchboard
        self._census = census
        self._cluster = cluster
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._router_id = router_id
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
            except RedisUnavailable as error:
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

    async def empty_outbox(self, queue: PoolQueue) -> None:
        """Delivers what other replicas' scripts left for this one, until cancelled."""
        outbox = queue.keys.key("outbox:", self._router_id)
        delays = backoff(self._random)
        while True:
            try:
                await self._empty_once(queue, outbox)
                delays = backoff(self._random)
            except (RedisError, OSError):
                await self._clock.sleep(next(delays))

    async def _empty_once(self, queue: PoolQueue, outbox: str) -> None:
        client = self._store.client(queue.keys)
        popped: Any = await client.blpop([outbox], timeout=OUTBOX_WAIT_S)
        if popped is not None:
            rest: Any = await client.lpop(outbox, OUTBOX_BATCH)
            queue.deliver([popped[1], *(rest or [])])

    async def tell_outlook(self) -> None:
        """Tells gateways how their waiting requests stand, now and then, until cancelled."""
        while True:
            await self._clock.sleep(OUTLOOK_S)
            for session in self._switchboard.sessions:
                for pool, queue in self._queues.items():
                    try:
                        await self._tell(session, queue, session.waits_in(pool)[:OUTLOOK_BATCH])
                    except RedisUnavailable as error:
                        log.warning("no outlook", extra={"why": str(error)})

    async def _tell(self, session: GatewaySession, queue: PoolQueue, waiting: list[str]) -> None:
        if not waiting:
            return
        standing = await queue.outlook(waiting)
        for request_id, attempt, queued in standing:
            session.send(frames.queued(request_id, attempt, queued))
        for gone in set(waiting) - {request_id for request_id, _, _ in standing}:
            session.waiting.pop(gone, None)

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
        rows = [await count(self._store.client(queue.keys), queue.keys) for queue in self._queues.values()]
        if self._census.update(rows):
            self._switchboard.broadcast(pb.RouterFrame(catalog=self._census.catalog))
        for row in rows:
            self._measure(row)
        for queue in self._queues.values():
            await self._follow_rules(queue)
            self._metrics.redis.measure(queue.pool, await self._store.vitals(queue.keys))

    async def _follow_rules(self, queue: PoolQueue) -> None:
        """Takes over what another replica changed, and puts back what Redis has lost."""
        record: Any = await self._store.client(queue.keys).hgetall(queue.keys.key("rules"))
        if record and int(record[b"revision"]) != queue.rules.revision:
            queue.rules = queue.rules.with_record(record, self._cluster)
        elif not record and queue.rules.revision:
            await queue.replace_record("rules", 0, queue.rules.fields())

    async def change_rules(self, queue: PoolQueue, service_class: ServiceClass, change: pb.ClassPolicy) -> Rules:
        """Raises RedisUnavailable, RedisError. Repeated until no other replica has changed them meanwhile."""
        while True:
            await self._follow_rules(queue)
            changed = queue.rules.with_change(service_class, change)
            if await queue.replace_record("rules", queue.rules.revision, changed.fields()):
                queue.rules = changed
                return changed

    def _measure(self, row: PoolRow) -> None:
        queues, workers = self._metrics.queues, self._metrics.workers
        queues.granted.labels(row.pool).set(row.granted)
        queues.pace.labels(row.pool).set(row.pace_ms / 1000)
        for service_class, counts in row.classes.items():
            labels = (row.pool, service_class.label)
            queues.queued.labels(*labels).set(counts.queued)
            queues.queued_tokens.labels(*labels).set(counts.queued_tokens)
            queues.running.labels(*labels).set(counts.running)
            queues.expected_wait.labels(*labels).set(row.expected_wait_ms(service_class) / 1000)
        workers.desired.labels(row.pool).set(row.desired_workers)
        workers.count_versions(row.pool, Counter(w.heartbeat.model_version[:VERSION_DIGITS] for w in row.workers))
        for state in WORKER_STATES:
            workers.by_state.labels(row.pool, state).set(sum(w.state == state for w in row.workers))
