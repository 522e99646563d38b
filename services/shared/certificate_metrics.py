"""Metrics of a process's certificate, so that an alert sees one that nobody renews."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.shared.certificates import Tls


class CertificateCollector(Collector):
    """Reads the certificate each time Prometheus asks."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    def collect(self) -> Iterator[Metric]:
        """Yields from when to when the certificate is valid."""
        begins, ends = self._tls.lifetime()
        yield _gauge("begins", begins)
        yield _gauge("ends", ends)


def export_certificate(registry: CollectorRegistry, tls: Tls | None) -> None:
    """Adds the certificate to what the process exports; without TLS there is none."""
    if tls:
        registry.register(CertificateCollector(tls))


def _gauge(bound: str, value: float) -> Metric:
    return GaugeMetricFamily(
        f"tidegate_certificate_{bound}_seconds",
        f"When the validity of the process's certificate {bound}, in seconds since 1970",
        value=value,
    )
