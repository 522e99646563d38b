"""Compares what is in Redis with the model: every key, every sum, every tag."""

from typing import Any

import redis

from services.router.core.keys import PoolKeys
from services.shared.classes import ServiceClass
from tests.property.model import HEAD, Model, Request

CONSTANT = {"arrivals", "turns", "clock", "seen"}


class Stock:
    """The pool as Redis has it now. `keys` are names without the pool's root."""

    def __init__(self, client: redis.Redis, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys
        every: Any = client.keys()
        self.keys = {raw.decode().removeprefix(keys.root) for raw in every}
        self.turns = self._hash("turns")

    def _hash(self, name: str) -> dict[str, str]:
        fields: Any = self._client.hgetall(self._keys.root + name)
        return {key.decode(): value.decode(errors="replace") for key, value in fields.items()}

    def _set(self, name: str) -> set[str]:
        members: Any = self._client.smembers(self._keys.root + name)
        return {raw.decode() for raw in members}

    def _sorted(self, name: str) -> list[tuple[str, float]]:
        rows: Any = self._client.zrange(self._keys.root + name, 0, -1, withscores=True)
        return [(raw.decode(), score) for raw, score in rows]

    def check(self, model: Model) -> None:
        self._check_requests(model)
        for rank in ServiceClass:
            self._check_lane(model, rank)
        for worker_id in model.workers:
            self._check_worker(model, worker_id)
        self._check_pool(model)
        self._check_caches(model)
        self._check_waiting_for(model)
        assert self.keys - self.expected(model) == set(), "keys that nobody needs"

    def _check_requests(self, model: Model) -> None:
        """Each request is queued or granted, never both, and the worker that it was granted to still has it."""
        assert self._started("request:") == set(model.requests)
        for request_id, request in model.requests.items():
            found = self._hash(f"request:{request_id}")
            assert int(found["attempt"]) == request.asked.attempt
            assert found.get("worker") == request.worker
            assert ("sheltered" in found) == request.sheltered
        for session in model.sessions:
            assert self._set(f"owned:{session}") == model.owned(session)

    def _check_lane(self, model: Model, rank: ServiceClass) -> None:
        lane, queue, running = model.lanes[rank], model.queue(rank), model.running(rank)
        rows = self._sorted(f"queue:{rank.label}")
        assert [place[14:] for place, _ in rows] == [r.asked.request_id for r in queue]
        for (place, tag), request in zip(rows, queue, strict=True):
            assert tag == _tag(request, place), f"tag of {place}"
        assert dict(self._sorted(f"tenants:{rank.label}")) == lane.ends
        assert dict(self._sorted(f"running:{rank.label}")) == {r.asked.request_id: r.granted_at for r in running}
        assert (rank, float(self.turns.get(f"v{rank:d}", 0))) == (rank, lane.virtual)
        assert int(self.turns.get(f"tokens{rank:d}", 0)) == sum(r.cost for r in queue)

    def _check_worker(self, model: Model, worker_id: str) -> None:
        worker, found = model.workers[worker_id], self._hash(f"worker:{worker_id}")
        assert self._set(f"held:{worker_id}") == worker.held
        assert int(found.get("kv_reserved", 0)) == model.reserved(worker_id)
        assert int(found.get("counted", 0)) == worker.counted
        assert found.get("state", "") == worker.state
        assert ("refuge" in found) == (worker_id in model.isolation_pool)

    def _check_pool(self, model: Model) -> None:
        waiting = {i: r.deadline for i, r in model.requests.items() if not r.worker}
        assert dict(self._sorted("deadlines")) == waiting
        assert dict(self._sorted("workers")) == {w: worker.lease_end for w, worker in model.workers.items()}
        assert dict(self._sorted("sessions")) == {s: lease_end for s, (_, lease_end) in model.sessions.items()}
        assert {worker_id for worker_id, _ in self._sorted("free")} == set(model.free())
        assert self._set("yielding") == {i for i, r in model.requests.items() if r.asked_to_yield}
        assert int(self.turns.get("slots", 0)) == sum(worker.counted for worker in model.workers.values())
        assert int(self.turns.get("ready", 0)) == sum(worker.counted > 0 for worker in model.workers.values())
        assert int(self.turns.get("sheltered", 0)) == sum(r.sheltered for r in model.requests.values())
        assert dict(self._sorted("refuge")) == model.isolation_pool
        assert self._set("floods") == model.noisy_tenants
        assert int(self.turns.get("credit", 0)) == model.credit
        assert float(self.turns.get("pace", 0)) == (model.pace or 0)
        for name in {limit.name for r in model.requests.values() for limit in r.asked.limits}:
            assert self._set(f"open:{name}") == model.open(name)

    def _check_caches(self, model: Model) -> None:
        """The index of prefixes is the same from both sides, and every token in it is counted."""
        by_cache = {name: dict(self._sorted(f"cache:{name}")) for name in self._started("cache:")}
        by_hash = {
            prefix_hash: set(caches.strip(",").split(",")) for prefix_hash, caches in self._hash("prefix").items()
        }
        for name, hashes in by_cache.items():
            assert set(hashes) == {prefix_hash for prefix_hash, caches in by_hash.items() if name in caches}
        assert set().union(*by_hash.values()) <= set(by_cache)
        for worker_id, worker in model.workers.items():
            found = self._hash(f"worker:{worker_id}")
            for cache, counted in (("cache", "cached"), ("former", "former_cached")):
                if worker.report and found.get(cache):
                    tokens = sum(int(prefix_hash.split(".")[1]) for prefix_hash in by_cache.get(found[cache], ()))
                    assert int(found[counted]) == tokens
        workers = [self._hash(f"worker:{worker_id}") for worker_id in model.workers]
        known = {found.get(cache) for found in workers for cache in ("cache", "former")}
        assert set(by_cache) <= known | self._set("forgotten"), "caches that will never be cleared away"

    def _check_waiting_for(self, model: Model) -> None:
        """Only what waits can wait for a worker's cache."""
        for name in self._started("wanted:"):
            rank = ServiceClass(int(name.rpartition(":")[2]))
            waiting = {r.asked.request_id for r in model.queue(rank)}
            assert {place[14:] for place, _ in self._sorted(f"wanted:{name}")} <= waiting

    def _started(self, prefix: str) -> set[str]:
        return {key.removeprefix(prefix) for key in self.keys if key.startswith(prefix)}

    def expected(self, model: Model) -> set[str]:
        requests, classes = model.requests.values(), [c.label for c in ServiceClass]
        names = {f"{kind}:{label}" for kind in ("queue", "tenants", "running") for label in classes}
        names |= {f"request:{i}" for i in model.requests}
        names |= {f"{kind}:{w}" for kind in ("worker", "held") for w in model.workers}
        names |= {f"{kind}:{s}" for kind in ("session", "owned") for s in model.sessions}
        names |= {f"open:{limit.name}" for r in requests for limit in r.asked.limits}
        names |= {f"limit:{name}" for name, budget in model.budgets.items() if not budget.is_whole(model.now)}
        names |= {f"cache:{name}" for name in self._started("cache:")}
        names |= {f"wanted:{name}" for name in self._started("wanted:")}
        names |= {
            "deadlines",
            "workers",
            "free",
            "sessions",
            "yielding",
            "prefix",
            "forgotten",
            "rules",
            "floods",
            "refuge",
        }
        return names | CONSTANT


def _tag(request: Request, place: str) -> float:
    """Resumed work stands before all tags, by arrival."""
    return HEAD + int(place[:13]) if request.tag == HEAD else request.tag
