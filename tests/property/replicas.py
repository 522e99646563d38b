"""Two router replicas on one real Redis whose scripts run by a simulated clock."""

from collections.abc import Callable, Iterable
from typing import Any

import redis
from redis.exceptions import NoScriptError

from services.router.core.events import Event, Granted, decode_event
from services.router.core.keys import PoolKeys
from services.router.redis.scripts import Call, Composition, PoolScripts

POOL = "tide"
ROUTERS = ("router-a", "router-b")


class Replicas:
    """`now` is the time (ms) that scripts see."""

    def __init__(self, client: redis.Redis, composition: Composition, now: int) -> None:
        self.client = client
        self.keys = PoolKeys(POOL)
        self._scripts = {router: PoolScripts(self.keys, router, composition) for router in ROUTERS}
        client.flushall()
        self.set_clock(now)

    def set_clock(self, now: int) -> None:
        self.client.set(f"{self.keys.root}clock", now)

    def call(self, router: str, build: Callable[[PoolScripts], Call]) -> Any:
        call = build(self._scripts[router])
        try:
            return self._run(call)
        except NoScriptError:
            self.client.script_load(call.script.source)
            return self._run(call)

    def _run(self, call: Call) -> Any:
        return self.client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)

    def events(self, router: str, returned: Iterable[bytes]) -> list[tuple[str, Event]]:
        """What a call reported: the caller's own, and what it left for others. Each with the replica that tells it."""
        told = [(router, decode_event(document)) for document in returned]
        for other in ROUTERS:
            outbox = self.keys.key("outbox:", other)
            left: Any = self.client.lrange(outbox, 0, -1)
            told += [(other, decode_event(document)) for document in left]
            self.client.delete(outbox)
        return told


def grants(told: Iterable[tuple[str, Event]]) -> dict[tuple[str, int], Granted]:
    """Raises AssertionError when an attempt was granted twice."""
    found: dict[tuple[str, int], Granted] = {}
    for _, event in told:
        if isinstance(event, Granted):
            assert (event.request_id, event.attempt) not in found, f"granted twice: {event}"
            found[event.request_id, event.attempt] = event
    return found
