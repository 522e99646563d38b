"""Metrics tidegate_worker_*: the engine's load, read at each scrape, and how requests and weight updates ended."""

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from services.worker.engine.contract import EngineInfo, EngineLoad
from services.worker.weight_update_report import Outcome

# As the router's metrics show versions.
_VERSION_DIGITS = 12
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """Registers the metrics of one worker."""

    def __init__(
        self,
        registry: CollectorRegistry,
        load: Callable[[], EngineLoad],
        *more: Collector,
        golden_proved: Callable[[], int | None] = lambda: None,
        info: Callable[[], EngineInfo | None] = lambda: None,
    ) -> None:
        """Registers all metrics.

        Args:
            registry: Where the metrics are registered.
            load: Returns what the engine does now.
            *more: Further collectors.
            golden_proved: Returns how many golden prompts the weights have answered right; None before the proof.
            info: Returns what the engine is; None before its start.
        """
        self.registry = registry
        self.requests = Counter("tidegate_worker_requests", "Requests that ended", ["outcome"], registry=None)
        self.weight_updates = Counter(
            "tidegate_worker_deliveries", "Weight updates that ended", ["outcome"], registry=None
        )
        # Every label exists from the start: an alert can see a counter grow, but not a counter that appears.
        for outcome in get_args(Outcome):
            self.weight_updates.labels(outcome)
        self.speculator_updates = Counter(
            "tidegate_worker_speculator_deliveries", "Updates of the speculator that ended", ["outcome"], registry=None
        )
        for outcome in get_args(Outcome):
            self.speculator_updates.labels(outcome)
        self.draft_swaps = _seconds(
            "tidegate_worker_speculator_swap_seconds", "Time in which the engine replaced its speculator"
        )
        self.swaps = _seconds("tidegate_worker_swap_seconds", "Time in which the engine replaced its weights")
        self.gap = _seconds("tidegate_worker_delivery_gap_seconds", "Time in which nothing could be generated")
        self.adapter_loads = Counter(
            "tidegate_worker_adapter_loads", "Adapters that the engine was asked to load", ["outcome"], registry=None
        )
        for outcome in ("loaded", "refused", "failed"):
            self.adapter_loads.labels(outcome)
        self.adapter_evictions = Counter(
            "tidegate_worker_adapter_evictions", "Adapters that made room for others", registry=None
        )
        counted = (
            self.requests,
            self.weight_updates,
            self.speculator_updates,
            self.draft_swaps,
            self.swaps,
            self.gap,
            self.adapter_loads,
            self.adapter_evictions,
        )
        self._collectors: tuple[Collector, ...] = (*counted, _EngineCollector(load, golden_proved, info), *more)
        for collector in self._collectors:
            registry.register(collector)

    def close(self) -> None:
        """Removes the metrics from the registry, which may live longer than the worker."""
        for collector in self._collectors:
            self.registry.unregister(collector)


def _seconds(name: str, text: str) -> Histogram:
    return Histogram(name, text, buckets=_SECONDS, registry=None)


class _EngineCollector(Collector):
    def __init__(
        self,
        load: Callable[[], EngineLoad],
        golden_proved: Callable[[], int | None],
        info: Callable[[], EngineInfo | None],
    ) -> None:
        self._load, self._golden_proved, self._info = load, golden_proved, info

    def collect(self) -> Iterator[Metric]:
        load = self._load()
        yield GaugeMetricFamily("tidegate_worker_running", "Sequences that the engine computes", load.running)
        yield GaugeMetricFamily("tidegate_worker_waiting", "Sequences that wait in the engine", load.waiting)
        yield GaugeMetricFamily("tidegate_worker_kv_tokens_used", "Tokens in the KV cache", load.kv_tokens_used)
        yield CounterMetricFamily("tidegate_worker_steps", "Steps of the engine", load.steps)
        yield CounterMetricFamily("tidegate_worker_tokens_generated", "Tokens generated", load.generated_tokens)
        yield from _by_position(load)
        yield from _switches(load)
        if info := self._info():
            yield GaugeMetricFamily("tidegate_worker_kv_tokens", "Tokens that fit into the KV cache", info.kv_tokens)
            yield GaugeMetricFamily("tidegate_worker_slots", "Sequences that run together at most", info.max_running)
            # A label of its own series: a counter that changed its label in a rollout would seem to begin again.
            names = {"version": info.model_version[:_VERSION_DIGITS], "architecture": info.architecture}
            yield InfoMetricFamily("tidegate_worker", "The model version that the engine serves", names)
        if (proved := self._golden_proved()) is not None:
            text = "Golden prompts that the loaded weights have answered right"
            yield GaugeMetricFamily("tidegate_worker_golden_prompts_proved", text, proved)


def _by_position(load: EngineLoad) -> Iterator[Metric]:
    """The positions of a draft count from 1."""
    for name, text, counts in (
        ("tidegate_worker_draft_tokens", "Draft tokens that were checked, by position in the draft", load.drafted),
        ("tidegate_worker_accepted_draft_tokens", "Draft tokens that were accepted, by position", load.accepted),
    ):
        family = CounterMetricFamily(name, text, labels=["position"])
        for position, count in enumerate(counts, start=1):
            family.add_metric([str(position)], count)
        yield family


def _switches(load: EngineLoad) -> Iterator[Metric]:
    drafting = GaugeMetricFamily("tidegate_worker_drafting", "Whether the next step drafts")
    switches = CounterMetricFamily(
        "tidegate_worker_draft_switches", "Times that drafts were switched, for some size of the batch", labels=["to"]
    )
    if load.drafts is not None:
        drafting.add_metric([], load.drafts)
        switches.add_metric(["on"], load.switched_on)
        switches.add_metric(["off"], load.switched_off)
    yield drafting
    yield switches
