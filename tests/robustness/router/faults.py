"""Faults of routers and of Redis: `inject` breaks something, `recover` repairs it. Some recover by themselves."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Protocol

import redis

from tests.robustness.fault_injector import FaultInjector


class Fault(Protocol):
    """A fault that a drill can inject."""

    @property
    def name(self) -> str: ...

    @property
    def lasts_s(self) -> float:
        """Seconds from `inject` to `recover`."""
        ...

    @property
    def hides_redis(self) -> bool:
        """Whether requests may be refused while the fault is active."""
        ...

    def inject(self) -> None: ...
    def recover(self) -> None: ...


class RouterKilled:
    """Kills a router and starts it again. It first waits until `up` routers serve, so the last one never dies."""

    name, lasts_s, hides_redis = "router killed", 0.0, False

    def __init__(self, injector: FaultInjector, random: Random, up: int) -> None:
        self._injector, self._random, self._up = injector, random, up

    def inject(self) -> None:
        victim = self._random.choice(self._injector.wait_until_up(self._injector.named("router"), at_least=self._up))
        self._injector.kill(victim)
        self._injector.start(victim)

    def recover(self) -> None:
        return


class RedisKilled:
    """Kills Redis. It comes back empty."""

    name, lasts_s, hides_redis = "redis killed", 1.0, True

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector

    def inject(self) -> None:
        self._injector.kill("redis")

    def recover(self) -> None:
        self._injector.start("redis")


class RedisFault:
    """A fault that a Redis command causes."""

    name, lasts_s, hides_redis = "", 0.0, True

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def _redis(self) -> Iterator[redis.Redis]:
        client = redis.Redis.from_url(self._url)
        yield client
        client.close()

    def recover(self) -> None:
        return


class Flushed(RedisFault):
    """All keys are deleted."""

    name = "FLUSHALL"

    def inject(self) -> None:
        with self._redis() as client:
            client.flushall()


class Paused(RedisFault):
    """Redis stands still for longer than a lease. No worker may be taken for dead because of that."""

    name, lasts_s = "CLIENT PAUSE", 7.0

    def inject(self) -> None:
        with self._redis() as client:
            client.client_pause(int(self.lasts_s * 1000))


class ReadOnly(RedisFault):
    """Redis becomes a replica of a master that does not answer, so it refuses writes."""

    name, lasts_s = "read-only", 6.0

    def inject(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            unused_port = probe.getsockname()[1]
        with self._redis() as client:
            client.replicaof("127.0.0.1", str(unused_port))

    def recover(self) -> None:
        with self._redis() as client:
            client.replicaof("NO", "ONE")


class OutOfMemory(RedisFault):
    """Redis has no memory for another key."""

    name, lasts_s = "out of memory", 6.0

    def inject(self) -> None:
        with self._redis() as client:
            client.config_set("maxmemory", "100kb")

    def recover(self) -> None:
        with self._redis() as client:
            client.config_set("maxmemory", "0")
