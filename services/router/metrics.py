"""The metrics of a router process."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.router.redis.metrics import RedisMetrics, ScriptMetrics
from services.shared.counting import Children
from tidegate.router.v1 import router_pb2 as pb

_WAIT_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
_OF_A_CLASS = ("pool", "service_class")


class RouterMetrics:
    """All metrics of a router, by what they are about."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.gateways = GatewayMetrics(registry)
        self.requests = RequestMetrics(registry)
        self.queues = QueueMetrics(registry)
        self.workers = WorkerMetrics(registry)
        self.scripts = ScriptMetrics(registry)
        self.redis = RedisMetrics(registry)


class GatewayMetrics:
    """Gateways that are connected, and the events that they are sent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("tidegate_router_gateways", "Gateways connected here", registry=registry)
        self.events = Children(Counter("tidegate_router_events_total", "Events delivered", ["kind"], registry=registry))


class RequestMetrics:
    """The outcome of each request."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Children(
            Counter("tidegate_router_answers_total", "Answers to Submit", [*_OF_A_CLASS, "answer"], registry=registry)
        )
        self.waits = Children(
            Histogram(
                "tidegate_router_wait_seconds",
                "Time from Submit to grant",
                _OF_A_CLASS,
                buckets=_WAIT_S,
                registry=registry,
            )
        )
        self.finished = Children(
            Counter("tidegate_router_finished_total", "Requests that ended", ["pool", "outcome"], registry=registry)
        )
        self.prompt_tokens = Children(
            Counter(
                "tidegate_router_prompt_tokens_total",
                "Prompt tokens of requests that ended: all of them, those found cached, those expected to be cached",
                ["pool", "kind"],
                registry=registry,
            )
        )

    def finish(self, expected_cached: int, finish: pb.Finish) -> None:
        """Counts a request that ended. `expected_cached`: prompt tokens that were expected to be cached."""
        outcome = pb.Outcome.Name(finish.outcome).removeprefix("OUTCOME_").lower()
        self.finished[finish.pool, outcome].inc()
        self.prompt_tokens[finish.pool, "all"].inc(finish.prompt_tokens)
        self.prompt_tokens[finish.pool, "cached"].inc(finish.cached_tokens)
        self.prompt_tokens[finish.pool, "expected"].inc(expected_cached)


class QueueMetrics:
    """The state of each pool's queue as of the last snapshot, and what the reaper removed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queued = Gauge("llm_queue_size", "Requests that wait", _OF_A_CLASS, registry=registry)
        self.queued_tokens = Gauge(
            "tidegate_router_queued_tokens", "Estimated tokens of requests that wait", _OF_A_CLASS, registry=registry
        )
        self.running = Gauge(
            "tidegate_router_running", "Requests granted and not ended", _OF_A_CLASS, registry=registry
        )
        self.expected_wait = Gauge(
            "tidegate_router_expected_wait_seconds",
            "What a request that comes now would wait",
            _OF_A_CLASS,
            registry=registry,
        )
        self.objective = Gauge(
            "tidegate_router_ttft_objective_seconds",
            "Objective for the time to first token",
            _OF_A_CLASS,
            registry=registry,
        )
        self.granted = Gauge("tidegate_router_granted", "Requests granted and not ended", ["pool"], registry=registry)
        self.pace = Gauge(
            "tidegate_router_pace_seconds", "Time between grants while requests wait", ["pool"], registry=registry
        )
        self.reaped = Counter(
            "tidegate_router_reaped_total", "Things ended by time", ["pool", "kind"], registry=registry
        )


class WorkerMetrics:
    """The workers of a pool: how many there are, how many there should be, and what they serve."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.by_state = Gauge("tidegate_router_workers", "Workers by state", ["pool", "state"], registry=registry)
        self.by_version = Gauge(
            "tidegate_router_worker_versions", "Workers by model version", ["pool", "version"], registry=registry
        )
        self.desired = Gauge(
            "tidegate_router_desired_workers",
            "Workers that would serve what runs and waits now",
            ["pool"],
            registry=registry,
        )
        self.fewest = Gauge(
            "tidegate_router_fewest_workers",
            "Workers of an idle pool: 0 if it scales from zero, else 1",
            ["pool"],
            registry=registry,
        )
        self.kv_use = Gauge(
            "tidegate_router_kv_use_ratio", "Share of the workers' KV cache in use", ["pool"], registry=registry
        )
        self.rollouts = Counter(
            "tidegate_router_rollouts_total", "Rollouts that came to a state", ["pool", "state"], registry=registry
        )
        self.speculator_rollouts = Counter(
            "tidegate_router_speculator_rollouts_total",
            "Rollouts of speculators that came to a state",
            ["pool", "state"],
            registry=registry,
        )
        self.gate_failures = Counter(
            "tidegate_router_gate_failures_total",
            "Rollouts that went back, or did not start, because the new version was worse, by figure",
            ["pool", "figure"],
            registry=registry,
        )
        self._versions: dict[str, frozenset[str]] = {}

    def count_versions(self, pool: str, workers: Mapping[str, int]) -> None:
        """Sets how many workers have each version. Versions without workers are removed, so that labels stay few."""
        for gone in self._versions.get(pool, frozenset()) - workers.keys():
            self.by_version.remove(pool, gone)
        self._versions[pool] = frozenset(workers)
        for version, number in workers.items():
            self.by_version.labels(pool, version).set(number)
