"""The metrics of a router's Redis."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.router.redis.health import RedisHealth
from services.shared.counting import Children

_ROUND_TRIP_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1)


class ScriptMetrics:
    """Script calls as this router sees them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Children(Counter("tidegate_router_scripts_total", "Script calls", ["script"], registry=registry))
        self.round_trips = Histogram(
            "tidegate_router_redis_seconds", "Round trips to Redis", buckets=_ROUND_TRIP_S, registry=registry
        )
        self.failures = Counter(
            "tidegate_router_redis_failures_total", "Round trips to Redis that failed", registry=registry
        )
        self.refused = Counter(
            "tidegate_router_redis_refused_total", "Script calls that Redis answered with an error", registry=registry
        )


class RedisMetrics:
    """What a pool's Redis reports of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.memory = Gauge(
            "tidegate_router_redis_memory_bytes", "Memory that the pool's Redis uses", ["pool"], registry=registry
        )
        self.memory_limit = Gauge(
            "tidegate_router_redis_memory_limit_bytes", "Its maxmemory; 0 is no limit", ["pool"], registry=registry
        )
        self.scripts = Gauge(
            "tidegate_router_redis_script_calls", "Scripts run by it since it started", ["pool"], registry=registry
        )
        self.script_time = Gauge(
            "tidegate_router_redis_script_seconds", "Time they took inside it", ["pool"], registry=registry
        )
        self.script_quantiles = Gauge(
            "tidegate_router_redis_script_quantile_seconds",
            "Time a script takes inside it",
            ["pool", "quantile"],
            registry=registry,
        )

    def measure(self, pool: str, health: RedisHealth) -> None:
        """Sets the metrics of one pool."""
        self.memory.labels(pool).set(health.memory)
        self.memory_limit.labels(pool).set(health.memory_limit)
        self.scripts.labels(pool).set(health.script_calls)
        self.script_time.labels(pool).set(health.script_seconds)
        for quantile, seconds in health.script_quantiles.items():
            self.script_quantiles.labels(pool, str(quantile)).set(seconds)
