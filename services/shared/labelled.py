"""Metrics with labels that all series of a process have in common."""

from collections.abc import Iterator, Mapping
from copy import copy

from prometheus_client import Metric
from prometheus_client.registry import Collector


class Labelled(Collector):
    """Shows the metrics of another collector with more labels. It costs nothing until somebody asks for them.

    Args:
        metrics: Where the metrics come from, such as a registry.
        labels: Added to every series. A series that has the label itself keeps its own value.
    """

    def __init__(self, metrics: Collector, labels: Mapping[str, str]) -> None:
        self._metrics, self._labels = metrics, dict(labels)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        for metric in self._metrics.collect():
            # A collector may show the same object at every scrape.
            labelled = copy(metric)
            labelled.samples = [one._replace(labels=self._labels | one.labels) for one in metric.samples]
            yield labelled
