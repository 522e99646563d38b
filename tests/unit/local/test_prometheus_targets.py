import json

from services.local.cluster_record import ProcessRecord
from services.local.prometheus_targets import to_json


def record(name: str, http_address: str) -> ProcessRecord:
    return ProcessRecord(
        name=name, pid=1, created=0.0, address="", http_address=http_address, state="running", restarts=0, log=""
    )


def test_processes_with_metrics_are_targets_labelled_with_what_they_are() -> None:
    processes = [record("redis", ""), record("router-2", "127.0.0.1:9002"), record("gateway", "127.0.0.1:8080")]
    assert json.loads(to_json(processes)) == [
        {"targets": ["127.0.0.1:9002"], "labels": {"process": "router-2", "component": "router"}},
        {"targets": ["127.0.0.1:8080"], "labels": {"process": "gateway", "component": "gateway"}},
    ]
