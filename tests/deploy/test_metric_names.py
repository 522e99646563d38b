"""Dashboards and alerts that name a metric which nobody exports show calm for ever."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from services.gateway import metrics as gateway
from services.gateway.ledger.ledger import LedgerMetrics
from services.router import metrics as router
from services.shared.certificate_metrics import CertificateCollector
from services.shared.prices import Prices
from services.worker import metrics as worker
from services.worker.engine.contract import EngineInfo, EngineLoad
from services.worker.gpu import GpuCollector
from tests.deploy.observability import dashboard_queries, metrics_in, rules
from trainer import metrics as trainer

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}
PASSED_THROUGH = "vllm:"
PROMETHEUS_OWN = {"up"}


def test_every_metric_that_is_asked_for_is_exported() -> None:
    known = exported() | PROMETHEUS_OWN | {rule["record"] for rule in rules() if "record" in rule}
    queries = [*dashboard_queries().values(), *(rule["expr"] for rule in rules())]
    asked = {name for query in queries for name in metrics_in(query) if not name.startswith(PASSED_THROUGH)}
    assert len(asked) > 20
    assert not asked - known


def test_every_metric_of_vllm_that_is_asked_for_is_vllms() -> None:
    found = importlib.util.find_spec("vllm")
    assert found
    assert found.origin
    files = (Path(found.origin).parent / "v1").rglob("*.py")
    text = "".join(file.read_text() for file in files if "metrics" in str(file))
    queries = dashboard_queries().values()
    asked = {name for query in queries for name in metrics_in(query) if name.startswith(PASSED_THROUGH)}
    assert len(asked) > 3
    assert not [name for name in asked if f'"{re.sub("_(total|bucket|sum|count)$", "", name)}"' not in text]


def test_names_are_found_in_queries() -> None:
    query = 'sum by (le) (rate(a_total{b="c"}[5m])) / on (d) group_left (i) e:f > 0.5 and max(g) unless h offset 1h'
    assert metrics_in(query) == {"a_total", "e:f", "g", "h"}


def exported() -> set[str]:
    """Names of the series that our processes export, whether or not there are any yet."""
    registry = CollectorRegistry()
    gateway.Metrics(registry)
    router.RouterMetrics(registry)
    gpus = GpuCollector.__new__(GpuCollector)
    gpus._gpus = []
    worker.Metrics(registry, EngineLoad, gpus, golden_proved=lambda: 0, info=lambda: EngineInfo("", "", 0, 0, 0, 0))
    LedgerMetrics(registry)
    gateway.show_prices(Prices(), registry)
    tls = SimpleNamespace(lifetime=lambda: (0.0, 0.0))
    registry.register(CertificateCollector(tls))  # type: ignore[arg-type]
    metrics = [*registry.collect(), *trainer.Metrics().registry.collect()]
    return {name for metric in metrics for name in _series(metric)}


def _series(metric: Metric) -> set[str]:
    return {metric.name + suffix for suffix in SUFFIXES[metric.type]}
