"""Every Redis key of the router, named once.

All keys of a pool share the hash tag {pool}, so that each script runs within one slot of a Redis Cluster. Scripts get
the whole list, always in the order of `PoolKeys.all`; lua/include/keys.lua gives the positions their names again. A key
that ends in ':' is a prefix, completed by a script with an id that one of our own processes made.
"""

from dataclasses import dataclass

from services.shared.classes import ServiceClass

ROOT = "tidegate"


@dataclass(frozen=True, slots=True)
class PoolKeys:
    pool: str

    def _key(self, rest: str) -> str:
        return f"{ROOT}:{{{self.pool}}}:{rest}"

    def queue(self, service_class: ServiceClass) -> str:
        """Sorted set: request id by order of service."""
        return self._key(f"queue:{service_class.label}")

    @property
    def arrivals(self) -> str:
        """Counter: arrivals so far."""
        return self._key("arrivals")

    @property
    def deadlines(self) -> str:
        """Sorted set: queued request id by the time (ms) it is given up."""
        return self._key("deadlines")

    @property
    def workers(self) -> str:
        """Sorted set: worker id by the time (ms) its lease ends."""
        return self._key("workers")

    @property
    def free(self) -> str:
        """Sorted set: ids of workers that take one more request, by the share of their slots in use."""
        return self._key("free")

    @property
    def sessions(self) -> str:
        """Sorted set: gateway session id by the time (ms) its lease ends."""
        return self._key("sessions")

    @property
    def request(self) -> str:
        """Prefix of hashes: one queued or granted request."""
        return self._key("request:")

    @property
    def worker(self) -> str:
        """Prefix of hashes: one worker as its last heartbeat and our grants describe it."""
        return self._key("worker:")

    @property
    def held(self) -> str:
        """Prefix of sets: ids of the requests granted to one worker."""
        return self._key("held:")

    @property
    def session(self) -> str:
        """Prefix of strings: id of the router replica that one gateway session is connected to."""
        return self._key("session:")

    @property
    def owned(self) -> str:
        """Prefix of sets: ids of the requests of one gateway session."""
        return self._key("owned:")

    @property
    def outbox(self) -> str:
        """Prefix of lists: events for the sessions and workers of one router replica."""
        return self._key("outbox:")

    @property
    def seen(self) -> str:
        """String: time (ms) of the last heartbeat of any worker."""
        return self._key("seen")

    @property
    def rollout(self) -> str:
        """Hash: the pool's last rollout (rollout.py)."""
        return self._key("rollout")

    def all(self) -> list[str]:
        """KEYS of every script, in order."""
        queues = [self.queue(service_class) for service_class in ServiceClass]
        fixed = [self.arrivals, self.deadlines, self.workers, self.free, self.sessions, self.seen]
        prefixes = [self.request, self.worker, self.held, self.session, self.owned, self.outbox]
        return queues + fixed + prefixes + [self.rollout]
