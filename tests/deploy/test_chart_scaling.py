"""Pools whose number of workers follows their load."""

from typing import Any

import helm_python as helm
import jsonschema_rs
import pytest
import yaml

from tests.deploy import kinds
from tests.deploy.chart import CHART, EXAMPLES, render, values
from tests.deploy.observability import metrics_in
from tests.deploy.test_metric_names import exported

PROMETHEUS = "http://prometheus:9090"
ALL = {"maxWaitSeconds": {"priority": 2, "default": 20.5}, "maxKvUse": 0.9}


def scaled(**autoscaling: Any) -> list[dict[str, Any]]:
    given = values(EXAMPLES[0])
    given["config"]["pools"] = [{"name": "tide", "model": "m"}, {"name": "moon.7b", "model": "m"}]
    own = {"enabled": True, "prometheusUrl": PROMETHEUS, **autoscaling}
    given["workers"]["pools"] = {"tide": {"autoscaling": own}}
    return render(given)


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [item for item in objects if item["kind"] == kind]
    return found


def config(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (text,) = [item["data"]["tidegate.yaml"] for item in objects if "tidegate.yaml" in item.get("data", {})]
    return dict(yaml.safe_load(text))


def test_keda_scales_by_work_wait_and_kv_use() -> None:
    item = one(scaled(minReplicas=0, **ALL), "ScaledObject")
    kinds.check(item, kinds.VERSIONS[-1])
    triggers = {trigger["name"]: trigger for trigger in item["spec"]["triggers"]}
    assert {name: trigger["metadata"]["threshold"] for name, trigger in triggers.items()} == {
        "desired": "1",
        "wait-priority": "2",
        "wait-default": "20.5",
        "kv-use": "0.9",
    }
    assert triggers["desired"]["metadata"]["activationThreshold"] == "0"
    queries = [trigger["metadata"]["query"] for trigger in triggers.values()]
    assert {name for query in queries for name in metrics_in(query)} <= exported()
    assert item["spec"]["minReplicaCount"] == 0


def test_an_hpa_scales_by_the_same_metrics() -> None:
    objects = scaled(by="hpa", prometheusUrl="", **ALL)
    item = one(objects, "HorizontalPodAutoscaler")
    kinds.check(item, kinds.VERSIONS[-1])
    targets = {
        (metric["external"]["metric"]["name"], *metric["external"]["metric"]["selector"]["matchLabels"].values())
        for metric in item["spec"]["metrics"]
    }
    assert targets == {
        ("tidegate_router_desired_workers", "tide"),
        ("tidegate_router_expected_wait_seconds", "tide", "priority"),
        ("tidegate_router_expected_wait_seconds", "tide", "default"),
        ("tidegate_router_kv_use_ratio", "tide"),
    }
    assert not [item for item in objects if item["kind"] == "ScaledObject"]


def test_an_hpa_cannot_wake_a_pool() -> None:
    with pytest.raises(helm.HelmError, match=r"workers\.pools\.tide\.autoscaling: minReplicas = 0 needs by: keda"):
        scaled(by="hpa", minReplicas=0)


def test_only_a_pool_that_keda_may_stop_scales_from_zero() -> None:
    pools = {pool["name"]: pool.get("scales_from_zero", False) for pool in config(scaled(minReplicas=0))["pools"]}
    assert pools == {"tide": True, "moon.7b": False}
    assert not any(pool.get("scales_from_zero") for pool in config(scaled(minReplicas=1))["pools"])


def test_a_pool_of_another_namespace_is_another_pool_where_the_operator_scrapes() -> None:
    given = values(EXAMPLES[0])
    given["workers"]["autoscaling"] = {"enabled": True, "prometheusUrl": PROMETHEUS}
    given["monitoring"] = {"serviceMonitor": {"enabled": True}}
    (trigger,) = one(render(given), "ScaledObject")["spec"]["triggers"]
    assert 'namespace="sea"' in trigger["metadata"]["query"]


@pytest.mark.parametrize(
    "wrong", [{"by": "vpa"}, {"maxKvUse": 90}, {"maxWaitSeconds": {"urgent": 2}}, {"prometheusUrl": ""}]
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    given = values(EXAMPLES[0])
    given["workers"]["autoscaling"] = {"enabled": True, "prometheusUrl": PROMETHEUS, **wrong}
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.validate_schema(given)


def test_the_schemas_find_mistakes() -> None:
    item = one(scaled(), "ScaledObject")
    item["spec"]["triggers"][0]["metadata"]["threshold"] = 1
    with pytest.raises(jsonschema_rs.ValidationError):
        kinds.check(item, kinds.VERSIONS[-1])
