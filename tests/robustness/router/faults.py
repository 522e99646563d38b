"""What is broken, and mended again: `strike` breaks it, `lift` mends it; some mend themselves."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Protocol

import redis

from tests.robustness.fault_injector import FaultInjector


class Fault(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def lasts_s(self) -> float:
        """From strike to lift."""
        ...

    @property
    def hides_redis(self) -> bool:
        """Whether requests may be refused meanwhile."""
        ...

    def strike(self) -> None: ...
    def lift(self) -> None: ...


class RouterKilled:
    """Any of the replicas that serve, started again at once; but not before `up` of them do, so never the last one."""

    name, lasts_s, hides_redis = "router killed", 0.0, False

    def __init__(self, crew: FaultInjector, random: Random, up: int) -> None:
        self._crew, self._random, self._up = crew, random, up

    def strike(self) -> None:
        victim = self._random.choice(self._crew.wait_until_up(self._crew.named("router"), at_least=self._up))
        self._crew.kill(victim)
        self._crew.start(victim)

    def lift(self) -> None:
        return


class RedisKilled:
    """It comes back with nothing in it."""

    name, lasts_s, hides_redis = "redis killed", 1.0, True

    def __init__(self, crew: FaultInjector) -> None:
        self._crew = crew

    def strike(self) -> None:
        self._crew.kill("redis")

    def lift(self) -> None:
        self._crew.start("redis")


class RedisFault:
    """One that is told to Redis itself."""

    name, lasts_s, hides_redis = "", 0.0, True

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _redis(self) -> Iterator[redis.Redis]:
        client = redis.Redis.from_url(self._url)
        yield client
        client.close()

    def lift(self) -> None:
        return


class Flushed(RedisFault):
    name = "FLUSHALL"

    def strike(self) -> None:
        with self._redis() as client:
            client.flushall()


class Paused(RedisFault):
    """Longer than leases last: nobody could renew theirs, and nobody may be blamed for it."""

    name, lasts_s = "CLIENT PAUSE", 7.0

    def strike(self) -> None:
        with self._redis() as client:
            client.client_pause(int(self.lasts_s * 1000))


class ReadOnly(RedisFault):
    """A replica of a master that does not answer."""

    name, lasts_s = "read-only", 6.0

    def strike(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            nobody = probe.getsockname()[1]
        with self._redis() as client:
            client.replicaof("127.0.0.1", str(nobody))

    def lift(self) -> None:
        with self._redis() as client:
            client.replicaof("NO", "ONE")


class OutOfMemory(RedisFault):
    name, lasts_s = "out of memory", 6.0

    def strike(self) -> None:
        with self._redis() as client:
            client.config_set("maxmemory", "100kb")

    def lift(self) -> None:
        with self._redis() as client:
            client.config_set("maxmemory", "0")
