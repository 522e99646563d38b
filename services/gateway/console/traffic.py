"""What this gateway has counted since it started, as JSON: whoever reads it twice knows the rates between."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from services.gateway.metrics import Metrics


def traffic(metrics: Metrics) -> dict[str, Any]:
    """`requests` counts answers by status. `ttft`: `counts[i]` is of times up to `le[i]` seconds, null is no limit."""
    return {
        "open_requests": sum(sample.value for sample in _samples(metrics.open_requests)),
        "tokens": sum(sample.value for sample in _samples(metrics.tokens, "_total")),
        "requests": _by_label(_samples(metrics.requests, "_total"), "status"),
        "ttft": _buckets(_samples(metrics.ttft, "_bucket")),
    }


def _samples(metric: Counter | Gauge | Histogram, suffix: str = "") -> Iterator[Sample]:
    return (sample for family in metric.collect() for sample in family.samples if _matches(sample, suffix))


def _matches(sample: Sample, suffix: str) -> bool:
    return sample.name.endswith(suffix) and not sample.name.endswith("_created")


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for sample in samples:
        sums[sample.labels[label]] += sample.value
    return dict(sums)


def _buckets(samples: Iterable[Sample]) -> dict[str, list[Any]]:
    sums = sorted((float(le), count) for le, count in _by_label(samples, "le").items())
    return {"le": [None if le == float("inf") else le for le, _ in sums], "counts": [count for _, count in sums]}
