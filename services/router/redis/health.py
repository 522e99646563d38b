"""What a Redis server reports of itself (INFO), and whether it may hold a queue."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from redis.exceptions import ReadOnlyError

from services.router.redis.url import RedisUrl
from services.shared.settings import WrongSettings

OLDEST_REDIS = (7, 0)
SECTIONS = ("server", "memory", "replication", "cluster", "commandstats", "latencystats")
_QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """Figures of one server.

    Attributes:
        eviction: Its maxmemory-policy.
        replicas: Replicas that are connected.
        waits_for_replicas: Whether it refuses writes while too few replicas follow it.
        memory: Bytes in use.
        memory_limit: Its maxmemory in bytes; 0 is no limit.
        script_calls: Scripts run since it started or its statistics were reset.
        script_seconds: Time that they took.
        script_quantiles: Time of a script (s) by quantile.
    """

    version: str
    eviction: str
    role: str
    in_cluster: bool
    replicas: int
    waits_for_replicas: bool
    memory: int
    memory_limit: int
    script_calls: int
    script_seconds: float
    script_quantiles: Mapping[float, float]

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> Self:
        """Reads the answer to INFO with SECTIONS."""
        scripts = info.get("cmdstat_evalsha", {})
        quantiles = info.get("latency_percentiles_usec_evalsha", {})
        return cls(
            version=str(info["redis_version"]),
            eviction=info["maxmemory_policy"],
            role=info["role"],
            in_cluster=bool(info.get("cluster_enabled")),
            replicas=info.get("connected_slaves", 0),
            # Only such a server reports this field.
            waits_for_replicas="min_slaves_good_slaves" in info,
            memory=info["used_memory"],
            memory_limit=info["maxmemory"],
            script_calls=scripts.get("calls", 0),
            script_seconds=scripts.get("usec", 0) / 1e6,
            script_quantiles={q: quantiles[name] / 1e6 for name, q in _QUANTILES.items() if name in quantiles},
        )


def examine(health: RedisHealth, url: RedisUrl) -> Iterator[str]:
    """Checks whether a server may hold a queue.

    Yields:
        Warnings.

    Raises:
        WrongSettings: The server must not be used.
        ReadOnlyError: The server is a replica.
    """
    if _numbers(health.version) < OLDEST_REDIS:
        raise WrongSettings(f"Redis is {health.version}: 7.0 or later is needed (or any Valkey)")
    if health.eviction != "noeviction":
        raise WrongSettings(f"Redis has maxmemory-policy = {health.eviction!r}: it must be 'noeviction'")
    if health.in_cluster != (url.kind == "cluster"):
        is_one = "a node of a cluster" if health.in_cluster else "no cluster"
        raise WrongSettings(f"TIDEGATE_REDIS_URL names a {url.kind}, but Redis is {is_one}")
    if health.role != "master":
        raise ReadOnlyError("this Redis is a replica")
    if health.replicas and not health.waits_for_replicas:
        yield (
            "min-replicas-to-write is 0: a master that is cut off from its replicas would go on granting beside the "
            "new one (set it to 1, and min-replicas-max-lag to a few seconds)"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
