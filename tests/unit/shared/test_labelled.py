from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from services.shared.labelled import Labelled


def test_every_series_gets_the_labels_and_keeps_its_own() -> None:
    registry = CollectorRegistry()
    Counter("words", "", ["kind", "pool"], registry=registry).labels("noun", "own").inc(2)
    Histogram("waits", "", buckets=(1,), registry=registry).observe(0.5)
    labelled = Labelled(registry, {"pool": "tide"})
    for _ in range(2):
        page = generate_latest(labelled).decode()
        assert 'words_total{kind="noun",pool="own"} 2.0' in page
        assert 'waits_bucket{le="1.0",pool="tide"} 1.0' in page
        assert 'waits_count{pool="tide"} 1.0' in page
    assert "tide" not in generate_latest(registry).decode()
