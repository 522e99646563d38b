"""The background work of a replica: renew leases, reap, deliver the outbox, take snapshots, keep rules up to date."""

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
from services.router.queue.snapshot import PoolRow, Snapshot, read_pool
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
POSITIONS_S = 2.0
POSITIONS_BATCH = 256
SNAPSHOT_S = 0.5
REDIS_HEALTH_S = 5.0
"""Seconds between two reads of what Redis reports of itself: to parse one costs as much as a whole snapshot."""
VERSION_DIGITS = 12
WORKER_STATES = ("loading", "ready", "draining", "stuck", "swapping", "detached")


class Maintenance:
    """The background tasks of one replica, for all pools.

    Attributes:
        last_success: Monotonic time (s) of the last round of `keep_leases` that Redis answered.
    """

    def __init__(
        self,
        router_id: str,
        queues: dict[str, PoolQueue],
        *,
        runner: ScriptRunner,
        settings: RouterSettings,
        sessions: Sessions,
        snapshot: Snapshot,
        cluster: Cluster,
        metrics: RouterMetrics,
        clock: Clock,
        random: Random,
    ) -> None:
        self._queues = queues
        self._runner = runner
        self._settings = settings
        self._sessions = sessions
        self._snapshot = snapshot
        self._cluster = cluster
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._router_id = router_id
        self._failures_seen = runner.failures
        self.last_success = clock.monotonic()

    async def keep_leases(self) -> None:
        """Renews leases and reaps, until cancelled. The pause is random, so that replicas do not all come at once."""
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
        if session_ids := self._sessions.session_ids:
            self._sessions.drop(await queue.renew(session_ids), "Redis does not know the session")

    def _after_success(self) -> None:
        """After a failure an answer may be lost, and it may have been a grant: gateways must submit again."""
        self.last_success = self._clock.monotonic()
        if self._runner.failures != self._failures_seen:
            self._failures_seen = self._runner.failures
            self._sessions.drop(self._sessions.session_ids, "Redis was away")

    async def empty_outbox(self, queue: PoolQueue) -> None:
        """Delivers the events that other replicas' scripts left for this replica, until cancelled."""
        outbox = queue.keys.key("outbox:", self._router_id)
        delays = backoff(self._random)
        while True:
            try:
                await self._empty_once(queue, outbox)
                delays = backoff(self._random)
            except (RedisError, OSError):
                await self._clock.sleep(next(delays))

    async def _empty_once(self, queue: PoolQueue, outbox: str) -> None:
        client = self._runner.client(queue.keys)
        popped: Any = await client.blpop([outbox], timeout=OUTBOX_WAIT_S)
        if popped is not None:
            rest: Any = await client.lpop(outbox, OUTBOX_BATCH)
            queue.deliver([popped[1], *(rest or [])])

    async def tell_positions(self) -> None:
        """Tells gateways the positions of their waiting requests every POSITIONS_S seconds, until cancelled."""
        while True:
            await self._clock.sleep(POSITIONS_S)
            for session in self._sessions.sessions:
                for pool, queue in self._queues.items():
                    try:
                        await self._tell(session, queue, session.waits_in(pool)[:POSITIONS_BATCH])
                    except RedisUnavailable as error:
                        log.warning("no queue positions", extra={"why": str(error)})

    async def _tell(self, session: GatewaySession, queue: PoolQueue, waiting: list[str]) -> None:
        if not waiting:
            return
        positions = await queue.positions(waiting)
        for request_id, attempt, queued in positions:
            session.send(frames.queued(request_id, attempt, queued))
        for gone in set(waiting) - {request_id for request_id, _, _ in positions}:
            session.waiting.pop(gone, None)

    async def keep_snapshot(self) -> None:
        """Takes a snapshot every SNAPSHOT_S seconds, until cancelled."""
        while True:
            try:
                await self.take_snapshot()
            except (RedisError, OSError) as error:
                log.warning("no snapshot", extra={"why": str(error)})
            await self._clock.sleep(SNAPSHOT_S)

    async def take_snapshot(self) -> None:
        """Reads the state of every pool: updates catalog, metrics and class rules.

        Raises:
            RedisError: Redis did not answer.
        """
        rows = [await read_pool(self._runner.client(q.keys), q.keys, q.sizing) for q in self._queues.values()]
        if self._snapshot.update(rows, {queue.pool: queue.rules for queue in self._queues.values()}):
            self._sessions.broadcast(pb.RouterFrame(catalog=self._snapshot.catalog))
        for row in rows:
            self._measure(row)
        for queue in self._queues.values():
            await self._follow_rules(queue)

    async def measure_redis(self) -> None:
        """Measures the Redis of every pool every REDIS_HEALTH_S seconds, until cancelled."""
        while True:
            try:
                for queue in self._queues.values():
                    self._metrics.redis.measure(queue.pool, await self._runner.health(queue.keys))
            except (RedisError, OSError) as error:
                log.warning("Redis is not measured", extra={"why": str(error)})
            await self._clock.sleep(REDIS_HEALTH_S)

    async def _follow_rules(self, queue: PoolQueue) -> None:
        """Takes over rules that another replica changed, and restores rules that Redis has lost."""
        record: Any = await self._runner.client(queue.keys).hgetall(queue.keys.key("rules"))
        if record and int(record[b"revision"]) != queue.rules.revision:
            queue.rules = queue.rules.with_record(record, self._cluster)
        elif not record and queue.rules.revision:
            await queue.replace_record("rules", 0, queue.rules.fields())

    async def change_rules(self, queue: PoolQueue, service_class: ServiceClass, change: pb.ClassPolicy) -> Rules:
        """Changes the rules of one class. Tries again when another replica changed rules in between.

        Args:
            queue: The queue of the pool.
            service_class: The class.
            change: The fields to change.

        Returns:
            All rules after the change.

        Raises:
            RedisUnavailable: A script call failed.
            RedisError: Redis did not answer.
        """
        while True:
            await self._follow_rules(queue)
            changed = queue.rules.with_change(service_class, change)
            if await queue.replace_record("rules", queue.rules.revision, changed.fields()):
                queue.rules = changed
                return changed

    def _measure(self, row: PoolRow) -> None:
        queues, workers, rules = self._metrics.queues, self._metrics.workers, self._queues[row.pool].rules
        queues.granted.labels(row.pool).set(row.granted)
        queues.pace.labels(row.pool).set(row.pace_ms / 1000)
        for service_class, counts in row.classes.items():
            labels = (row.pool, service_class.label)
            queues.queued.labels(*labels).set(counts.queued)
            queues.queued_tokens.labels(*labels).set(counts.queued_tokens)
            queues.running.labels(*labels).set(counts.running)
            queues.expected_wait.labels(*labels).set(row.expected_wait_ms(service_class) / 1000)
            queues.objective.labels(*labels).set(rules.of(service_class).ttft_objective_ms / 1000)
        workers.desired.labels(row.pool).set(row.desired_workers)
        workers.fewest.labels(row.pool).set(row.sizing.fewest)
        workers.kv_use.labels(row.pool).set(row.kv_use)
        workers.count_versions(row.pool, Counter(w.heartbeat.model_version[:VERSION_DIGITS] for w in row.workers))
        for state in WORKER_STATES:
            workers.by_state.labels(row.pool, state).set(sum(w.state == state for w in row.workers))
