"""After a silence of Redis nobody is taken for lost at once: nobody could renew a lease meanwhile."""

import redis

from services.router.rules import Rules
from services.router.scripts import Submission, WorkerReport
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool
from tests.property.replicas import POOL, ROUTERS, Replicas

RULES = Rules.of_cluster(Cluster(pools=(Pool(name=POOL, model=POOL),)))
LEASE_MS = 5_000
START_MS = 1_000_000
UPKEEP_MS = 250


class SmallPool:
    """One worker that runs one request, seen by replicas whose clock the test moves."""

    def __init__(self, client: redis.Redis) -> None:
        self.replicas = Replicas(client, "prefix", START_MS)
        self.now = START_MS
        report = WorkerReport("w1", 1, "ready", 1, 1_000, "v1", "w1:1", b"")
        self.replicas.call(ROUTERS[0], lambda s: s.heartbeat(report, RULES, lease_ms=LEASE_MS))
        request = Submission("session", "r1", 1, ServiceClass.DEFAULT, 10, 1_000)
        self.replicas.call(
            ROUTERS[0], lambda s: s.submit(request, RULES, lease_ms=LEASE_MS, no_worker_grace_ms=LEASE_MS)
        )

    def reap_after(self, ms: int) -> list[int]:
        """Sessions, workers and requests that were reaped then."""
        self.now += ms
        self.replicas.set_clock(self.now)
        counts, _ = self.replicas.call(ROUTERS[1], lambda s: s.reap(RULES, limit=64, spare_ms=LEASE_MS))
        return list(counts)


def test_leases_that_ran_out_while_redis_stood_still_get_their_time_again(redis_client: redis.Redis) -> None:
    pool = SmallPool(redis_client)
    assert pool.reap_after(0) == [0, 0, 0]
    assert pool.reap_after(10 * LEASE_MS) == [0, 0, 0]
    spared = [pool.reap_after(UPKEEP_MS) for _ in range(LEASE_MS // UPKEEP_MS - 1)]
    assert not any(any(counts) for counts in spared)
    assert pool.reap_after(UPKEEP_MS) == [1, 1, 0]


def test_a_worker_that_falls_silent_alone_is_lost_in_its_own_time(redis_client: redis.Redis) -> None:
    pool = SmallPool(redis_client)
    kept = [pool.reap_after(UPKEEP_MS) for _ in range(LEASE_MS // UPKEEP_MS - 1)]
    assert not any(any(counts) for counts in kept)
    assert pool.reap_after(UPKEEP_MS) == [1, 1, 0]
