"""What a Redis server says of itself (INFO), and whether a queue may be kept in it."""

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
    """Times in seconds since the server started or its statistics were reset; memory in bytes, a limit of 0 is none."""

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
        scripts = info.get("cmdstat_evalsha", {})
        quantiles = info.get("latency_percentiles_usec_evalsha", {})
        return cls(
            version=str(info["redis_version"]),
            eviction=info["maxmemory_policy"],
            role=info["role"],
            in_cluster=bool(info.get("cluster_enabled")),
            replicas=info.get("connected_slaves", 0),
            # Only told by a server that refuses writes while too few replicas follow it.
            waits_for_replicas="min_slaves_good_slaves" in info,
            memory=info["used_memory"],
            memory_limit=info["maxmemory"],
            script_calls=scripts.get("calls", 0),
            script_seconds=scripts.get("usec", 0) / 1e6,
            script_quantiles={q: quantiles[name] / 1e6 for name, q in _QUANTILES.items() if name in quantiles},
        )


def examine(vitals: RedisHealth, url: RedisUrl) -> Iterator[str]:
    """Yields what is unwise. Raises WrongSettings for what must not be used, ReadOnlyError for a replica."""
    if _numbers(vitals.version) < OLDEST_REDIS:
        raise WrongSettings(f"Redis is {vitals.version}: 7.0 or later is needed (or any Valkey)")
    if vitals.eviction != "noeviction":
        raise WrongSettings(f"Redis has maxmemory-policy = {vitals.eviction!r}: it must be 'noeviction'")
    if vitals.in_cluster != (url.kind == "cluster"):
        is_one = "a node of a cluster" if vitals.in_cluster else "no cluster"
        raise WrongSettings(f"TIDEGATE_REDIS_URL names a {url.kind}, but Redis is {is_one}")
    if vitals.role != "master":
        raise ReadOnlyError("this Redis is a replica")
    if vitals.replicas and not vitals.waits_for_replicas:
        yield (
            "min-replicas-to-write is 0: a master that is cut off from its replicas would go on granting beside the "
            "new one (set it to 1, and min-replicas-max-lag to a few seconds)"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
