"""A metric's children by their labels, each looked up once: that takes the library longer than to count."""

from typing import TypeVar

from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)


class Children(dict[str | tuple[str, ...], M]):
    """What `metric` counts by its label or labels."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self.metric = metric

    def __missing__(self, labels: str | tuple[str, ...]) -> M:
        self[labels] = child = self.metric.labels(*([labels] if isinstance(labels, str) else labels))
        return child
