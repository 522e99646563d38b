"""Dashboards and alerts that name a metric which nobody exports show calm for ever."""

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from services.gateway import metrics as gateway
from services.router import metrics as router
from services.worker import metrics as worker
from services.worker.engine.contract import EngineLoad
from services.worker.gpu import GpuCollector
from tests.deploy.observability import dashboard_queries, metrics_in, rules

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
PASSED_THROUGH = "vllm:"
PROMETHEUS_OWN = {"up"}


def test_every_metric_that_is_asked_for_is_exported() -> None:
    known = exported() | PROMETHEUS_OWN | {rule["record"] for rule in rules() if "record" in rule}
    queries = [*dashboard_queries().values(), *(rule["expr"] for rule in rules())]
    asked = {name for query in queries for name in metrics_in(query) if not name.startswith(PASSED_THROUGH)}
    assert len(asked) > 20
    assert not asked - known


def test_names_are_found_in_queries() -> None:
    query = 'sum by (le) (rate(a_total{b="c"}[5m])) / on (d) e:f > 0.5 and max(g) unless h'
    assert metrics_in(query) == {"a_total", "e:f", "g", "h"}


def exported() -> set[str]:
    """Names of the series that our processes export, whether or not there are any yet."""
    registry = CollectorRegistry()
    gateway.Metrics(registry)
    router.RouterMetrics(registry)
    gpus = GpuCollector.__new__(GpuCollector)
    gpus._gpus = []
    worker.Metrics(registry, lambda: EngineLoad(0, 0, 0, 0, 0), gpus)
    return {name for metric in registry.collect() for name in _series(metric)}


def _series(metric: Metric) -> set[str]:
    return {metric.name + suffix for suffix in SUFFIXES[metric.type]}
