"""While Redis is silent no lease ends, because nobody could renew one. A silent worker gets no new work."""

from collections.abc import Callable

import redis

from services.router.core.class_rules import Rules
from services.router.core.events import Event, Revoked
from services.router.redis.scripts import Call, Composition, PoolScripts, Submission, WorkerReport
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool
from tests.property.replicas import POOL, ROUTERS, Replicas, grants

RULES = Rules.of_cluster(Cluster(pools=(Pool(name=POOL, model=POOL),)))
LEASE_MS = 5_000
START_MS = 1_000_000
MAINTENANCE_MS = 250


class SmallPool:
    """One worker that runs one of two requests, and replicas whose clock the test moves."""

    def __init__(self, client: redis.Redis) -> None:
        self.replicas = Replicas(client, Composition("prefix", "simulated"), START_MS)
        self.now = START_MS
        self.told: list[Event] = []
        """The events of the last reap."""
        self.beat()
        self.submit("r1")

    def beat(self) -> set[str]:
        """Requests that the heartbeat granted; so with `submit`."""
        report = WorkerReport("w1", 1, "ready", 2, 10_000, "v1", "w1:1", b"")
        return self._granted(lambda s: s.heartbeat(report, RULES, lease_ms=LEASE_MS))

    def submit(self, request_id: str) -> set[str]:
        request = Submission("session", request_id, 1, ServiceClass.DEFAULT, 10, 1_000)
        return self._granted(lambda s: s.submit(request, RULES, lease_ms=LEASE_MS, no_worker_grace_ms=LEASE_MS))

    def _granted(self, build: Callable[[PoolScripts], Call]) -> set[str]:
        *_, events = self.replicas.call(ROUTERS[0], build)
        return {request_id for request_id, _ in grants(self.replicas.events(ROUTERS[0], events))}

    def reap_after(self, ms: int) -> list[int]:
        """Sessions, workers and requests that were reaped."""
        self.now += ms
        self.replicas.set_clock(self.now)
        counts, events = self.replicas.call(
            ROUTERS[1], lambda s: s.reap(RULES, limit=64, worker_lease_ms=LEASE_MS, spare_ms=LEASE_MS)
        )
        self.told = [event for _, event in self.replicas.events(ROUTERS[1], events)]
        return list(counts)


def test_leases_that_ended_while_redis_was_silent_get_their_time_again(redis_client: redis.Redis) -> None:
    pool = SmallPool(redis_client)
    assert pool.reap_after(0) == [0, 0, 0]
    assert pool.reap_after(10 * LEASE_MS) == [0, 0, 0]
    spared = [pool.reap_after(MAINTENANCE_MS) for _ in range(LEASE_MS // MAINTENANCE_MS - 1)]
    assert not any(any(counts) for counts in spared)
    assert pool.reap_after(MAINTENANCE_MS) == [1, 1, 0]


def test_a_worker_that_falls_silent_alone_is_lost_in_its_own_time(redis_client: redis.Redis) -> None:
    pool = SmallPool(redis_client)
    kept = [pool.reap_after(MAINTENANCE_MS) for _ in range(LEASE_MS // MAINTENANCE_MS - 1)]
    assert not any(any(counts) for counts in kept)
    assert pool.reap_after(MAINTENANCE_MS) == [1, 1, 0]


def test_a_worker_that_was_silent_for_half_its_lease_gets_nothing_until_it_is_heard_of(
    redis_client: redis.Redis,
) -> None:
    pool = SmallPool(redis_client)
    pool.reap_after(LEASE_MS // 2 - 1)
    assert pool.submit("r2") == {"r2"}
    pool = SmallPool(redis_client)
    pool.reap_after(LEASE_MS // 2)
    assert pool.submit("r2") == set()
    assert pool.beat() == {"r2"}


def test_grants_since_it_was_heard_of_go_elsewhere_and_what_it_runs_stays(
    redis_client: redis.Redis,
) -> None:
    pool = SmallPool(redis_client)
    pool.reap_after(MAINTENANCE_MS)
    pool.beat()
    assert pool.submit("r2") == {"r2"}
    told = [_told_after(pool, MAINTENANCE_MS) for _ in range(LEASE_MS // MAINTENANCE_MS)]
    half = len(told) // 2 - 1
    assert told[half] == [Revoked("session", "r2", 1, "lost")]
    assert not any(told[:half] + told[half + 1 :])


def _told_after(pool: SmallPool, ms: int) -> list[Event]:
    pool.reap_after(ms)
    return pool.told
