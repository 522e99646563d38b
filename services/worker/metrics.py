"""tidegate_worker_*: what the engine does now, read when asked, and what became of the requests."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.engine.contract import EngineLoad


class Metrics:
    def __init__(self, registry: CollectorRegistry, load: Callable[[], EngineLoad], *more: Collector) -> None:
        self.registry = registry
        self.requests = Counter("tidegate_worker_requests", "Requests that ended", ["outcome"], registry=None)
        self._collectors: tuple[Collector, ...] = (self.requests, _EngineCollector(load), *more)
        for collector in self._collectors:
            registry.register(collector)

    def close(self) -> None:
        """Takes the metrics off the registry, which may outlive the worker."""
        for collector in self._collectors:
            self.registry.unregister(collector)


class _EngineCollector(Collector):
    def __init__(self, load: Callable[[], EngineLoad]) -> None:
        self._load = load

    def collect(self) -> Iterator[Metric]:
        load = self._load()
        yield GaugeMetricFamily("tidegate_worker_running", "Sequences that the engine computes", load.running)
        yield GaugeMetricFamily("tidegate_worker_waiting", "Sequences that wait in the engine", load.waiting)
        yield GaugeMetricFamily("tidegate_worker_kv_tokens_used", "Tokens in the KV cache", load.kv_tokens_used)
        yield CounterMetricFamily("tidegate_worker_steps", "Steps of the engine", load.steps)
        yield CounterMetricFamily("tidegate_worker_tokens_generated", "Tokens generated", load.generated_tokens)
