"""Caches the children of a metric by their labels. In prometheus_client, the lookup costs more than the counting."""

from typing import TypeVar

from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)


class Children(dict[str | tuple[str, ...], M]):
    """The children of `metric`, by the value of its label or the values of its labels."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self.metric = metric

    def __missing__(self, labels: str | tuple[str, ...]) -> M:
        self[labels] = child = self.metric.labels(*([labels] if isinstance(labels, str) else labels))
        return child
