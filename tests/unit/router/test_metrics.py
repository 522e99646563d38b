from prometheus_client import CollectorRegistry

from services.router.metrics import RouterMetrics


def test_versions_that_no_worker_has_any_more_are_forgotten() -> None:
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry).workers
    metrics.count_versions("tide", {"old": 2, "new": 1})
    metrics.count_versions("other", {"old": 1})
    metrics.count_versions("tide", {"new": 3})

    def workers(pool: str, version: str) -> float | None:
        return registry.get_sample_value("tidegate_router_worker_versions", {"pool": pool, "version": version})

    assert workers("tide", "new") == 3
    assert workers("tide", "old") is None
    assert workers("other", "old") == 1


def test_counts_are_kept_by_their_labels() -> None:
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry)
    for _ in range(2):
        metrics.gateways.events["granted"].inc()
        metrics.requests.answers["tide", "flex", "queued"].inc()
    answers = {"pool": "tide", "service_class": "flex", "answer": "queued"}
    assert registry.get_sample_value("tidegate_router_events_total", {"kind": "granted"}) == 2
    assert registry.get_sample_value("tidegate_router_answers_total", answers) == 2
