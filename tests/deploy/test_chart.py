"""The chart: what it renders is what Kubernetes takes, and what is wrong never gets that far."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from services.shared import config
from tests.deploy.chart import CHART, EXAMPLES, everything, pods, render, rendered, values

OTHERS_KINDS = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds that other projects define; Kubernetes itself has no schema for them."""

example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
all_on = pytest.mark.parametrize("all_on", [False, True], ids=["as it is", "all switched on"])


@example
def test_it_lints(example: Path) -> None:
    report = helm.lint(CHART, values(example), strict=True)
    assert not report["errors"]
    assert not [message for message in report["messages"] if message["severity"] > 1]


@example
@all_on
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_objects_are_valid(example: Path, all_on: bool, version: str) -> None:
    for item in rendered(example, all_on):
        if item["kind"] not in OTHERS_KINDS:
            kubernetes_validate.validate(item, version, strict=True)


def test_all_that_can_be_switched_on_is_there() -> None:
    kinds = {item["kind"] for item in rendered(EXAMPLES[0], True)}
    assert OTHERS_KINDS | {"Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def test_pods_get_longer_than_their_processes_take_to_drain() -> None:
    specs = [spec for _, spec in pods(rendered(EXAMPLES[0], True))]
    drains = [(spec.get("terminationGracePeriodSeconds", 30), _variable(spec, "TIDEGATE_DRAIN_S")) for spec in specs]
    assert len([drain for _, drain in drains if drain]) >= 2
    assert all(grace > float(drain) for grace, drain in drains if drain)


def _variable(spec: dict[str, Any], name: str) -> str | None:
    variables = [variable for container in spec["containers"] for variable in container.get("env", ())]
    return next((variable["value"] for variable in variables if variable["name"] == name), None)


@example
def test_the_config_is_what_processes_read(example: Path, tmp_path: Path) -> None:
    documents = [item["data"]["tidegate.yaml"] for item in rendered(example) if "tidegate.yaml" in item.get("data", {})]
    assert len(documents) == 1
    file = tmp_path / "tidegate.yaml"
    file.write_text(documents[0])
    pools = {pool.name for pool in config.load(file).pools}
    assert pools == {pool["name"] for pool in values(example)["config"]["pools"]}


def test_the_default_config_is_what_processes_read(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load((CHART / "values.yaml").read_text())["config"]))
    config.load(file)


def test_the_schema_embeds_the_schema_of_tidegate_yaml() -> None:
    run = subprocess.run([sys.executable, "scripts/chart_schema.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@example
@all_on
def test_pods_keep_to_the_restricted_profile(example: Path, all_on: bool) -> None:
    for component, pod in pods(rendered(example, all_on)):
        assert pod["securityContext"]["runAsNonRoot"], component
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, component
        assert pod["automountServiceAccountToken"] is False, component
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, component


def test_a_pool_can_differ_from_the_others() -> None:
    given = values(EXAMPLES[0])
    small = given["config"]["pools"][0]
    given["config"]["pools"] = [small, {**small, "name": "big.model", "workers": 3}]
    given["workers"]["pools"] = {"big.model": {"device": "cuda", "gpus": 4, "nodeSelector": {"gpu": "h200"}}}
    deployments = {item["metadata"]["name"]: item["spec"] for item in render(given) if item["kind"] == "Deployment"}
    big = deployments["shore-tidegate-worker-big-model"]
    assert big["replicas"] == 3
    assert big["template"]["spec"]["nodeSelector"] == {"gpu": "h200"}
    assert big["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    other = deployments[f"shore-tidegate-worker-{small['name']}"]
    assert "nodeSelector" not in other["template"]["spec"]


def test_a_pod_has_the_gpus_that_its_engine_needs() -> None:
    assert _gpus({}) == 1
    assert _gpus({"engine": {"kind": "vllm", "tensor_parallel": 4, "pipeline_parallel": 2}}) == 8
    assert _gpus({"engine": {"kind": "vllm", "tensor_parallel": 2}}, gpus=4) == 4


def test_too_few_gpus_for_an_engine_are_told() -> None:
    with pytest.raises(helm.HelmError, match=r"workers\.gpus = 1: pool tide needs 2"):
        _gpus({"engine": {"kind": "vllm", "tensor_parallel": 2}}, gpus=1)


def test_pods_without_gpus_ask_for_none() -> None:
    assert _gpus({"engine": {"kind": "vllm", "tensor_parallel": 2}}, gpus=1, device="cpu") is None


def _gpus(pool: dict[str, Any], **workers: Any) -> int | None:
    """GPUs of a pod of this pool."""
    given = values(EXAMPLES[0])
    given["config"]["pools"] = [{"name": "tide", "model": "m", **pool}]
    given["workers"] = {**given["workers"], "device": "cuda", **workers}
    for component, pod in pods(tuple(render(given))):
        if component == "worker":
            gpus: int | None = pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            return gpus
    raise AssertionError("no worker")


WRONG: list[tuple[str, Any]] = [
    ("gateway.replica", 3),
    ("gateway.replicas", 0),
    ("workers.device", "tpu"),
    ("workers.pools", {"tide": {"gpu": 2}}),
    ("config.pools", []),
    ("config.pools", [{"name": "a b", "model": "m"}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "max_runing": 3}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "nodes": 2}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "data_parallel": 2}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "executor": "ray"}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "args": {"trust_remote_code": True}}}]),
    ("config.classes", {"urgent": {}}),
    ("signing.existingSecret", ""),
    ("redis.bundled.enabled", False),
    ("objectStore.bundled.enabled", False),
    ("database.bundled.enabled", False),
    ("gateway.ingress", {"enabled": True, "host": ""}),
    ("workers.autoscaling", {"enabled": True, "prometheusUrl": ""}),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda value: str(value)[:50])
def test_wrong_values_are_refused(path: str, value: Any) -> None:
    given = values(EXAMPLES[0])
    _set(given, path, value)
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
        chart.validate_schema(given)


def test_network_policies_let_through_who_must_talk() -> None:
    policies = {
        item["metadata"]["name"].removeprefix("shore-tidegate-"): item["spec"]["ingress"]
        for item in rendered(EXAMPLES[0])
        if item["kind"] == "NetworkPolicy"
    }
    clients, *scrapers = policies["gateway"]
    assert clients == {"ports": [{"port": 8080}, {"port": 8081}]}
    assert _callers(scrapers) == {(9090, None)}
    assert _callers(policies["redis"]) == {(6379, "router")}
    assert _callers(policies["worker"]) == {(8081, "gateway"), (8080, None)}
    assert _callers(policies["router"]) == {(8081, "gateway"), (8081, "worker"), (8081, "trainer"), (8080, None)}


def test_prometheus_asks_every_process_where_metrics_need_no_key() -> None:
    objects = rendered(EXAMPLES[0], True)
    services = [item for item in objects if item["kind"] == "Service"]
    (monitor,) = [item for item in objects if item["kind"] == "ServiceMonitor"]
    (endpoint,) = monitor["spec"]["endpoints"]
    scraped = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]: port["port"]
        for item in services
        for port in item["spec"]["ports"]
        if port["name"] == endpoint["port"]
    }
    assert scraped == {"gateway": 9090, "router": 8080, "worker": 8080, "trainer": 8080}
    for component, pod in pods(objects):
        if component in scraped:
            environment = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
            name = "TIDEGATE_METRICS_LISTEN" if component == "gateway" else "TIDEGATE_HTTP_LISTEN"
            assert environment[name] == f"0.0.0.0:{scraped[component]}"


def test_dashboard_and_rules_reach_the_cluster_unchanged() -> None:
    objects = {item["kind"]: item for item in rendered(EXAMPLES[0], True)}
    files = [Path(f"deploy/observability/rules/{name}.yaml") for name in ("recording", "alerts")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert objects["PrometheusRule"]["spec"]["groups"] == groups
    boards = [item["data"]["tidegate.json"] for item in rendered(EXAMPLES[0], True) if "tidegate.json" in str(item)]
    assert boards == [Path("deploy/observability/dashboards/tidegate.json").read_text()]


def test_everything_passes_the_schema() -> None:
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(everything(EXAMPLES[0]))


def _callers(rules: list[Any]) -> set[tuple[int, str | None]]:
    label = "app.kubernetes.io/component"
    return {
        (port["port"], source.get("podSelector", {}).get("matchLabels", {}).get(label))
        for rule in rules
        for port in rule["ports"]
        for source in rule["from"]
    }


def _set(given: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        given = given.setdefault(parent, {})
    given[last] = value
