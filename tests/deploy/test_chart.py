"""The chart: what it renders is what Kubernetes takes, and what is wrong never gets that far."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from services.shared import config
from tests.deploy import kinds
from tests.deploy.chart import CHART, EXAMPLES, everything, pods, render, rendered, secrets_plan, templates, values

OTHERS_KINDS = {
    *("ServiceMonitor", "PrometheusRule", "ScaledObject"),
    *("HTTPRoute", "GRPCRoute", "Certificate", "Issuer"),
}
"""Kinds that other projects define."""

example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
all_on = pytest.mark.parametrize("all_on", [False, True], ids=["as it is", "all switched on"])


@example
def test_it_lints(example: Path) -> None:
    report = helm.lint(CHART, values(example), strict=True)
    assert not report["errors"]
    assert not [message for message in report["messages"] if message["severity"] > 1]


@example
@all_on
def test_objects_are_valid_in_every_version_of_kubernetes(example: Path, all_on: bool) -> None:
    for item in rendered(example, all_on):
        for version in kinds.VERSIONS:
            kinds.check(item, version)


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
        assert pod.get("automountServiceAccountToken") is (None if component == "secrets" else False), component
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
    (big,) = [spec for name, spec in deployments.items() if name.startswith("shore-tidegate-worker-big-model")]
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


def test_the_job_that_makes_secrets_may_read_and_complete_only_those_of_the_release() -> None:
    objects = rendered(EXAMPLES[0])
    (role,) = [item for item in objects if item["kind"] == "Role"]
    create, own = role["rules"]
    assert (create["resources"], create["verbs"]) == (["secrets"], ["create"])
    assert own["resourceNames"] == sorted(secrets_plan(objects))


def test_an_example_with_a_new_store_imports_what_it_serves() -> None:
    given = [values(example) for example in EXAMPLES]
    new = [each for each in given if each.get("objectStore", {}).get("bundled", {}).get("enabled")]
    assert new
    for each in new:
        served = {pool["model"].partition("@")[0] for pool in each["config"]["pools"]}
        assert served <= {model["name"] for model in each["models"]}


def test_an_installation_whose_secrets_exist_needs_no_job_and_no_role() -> None:
    given = values(EXAMPLES[0])
    given |= {name: {"existingSecret": "mine"} for name in ("auth", "redis", "database")}
    given["objectStore"] = {"existingSecret": "mine", "endpoint": "https://s3.test"}
    given |= {"secrets": {"create": False}, "models": []}
    assert not {item["kind"] for item in render(given)} & {"Job", "Role", "RoleBinding", "Secret"}
    with pytest.raises(helm.HelmError, match=r"secrets\.create = false.*shore-tidegate-auth"):
        render({**given, "auth": {"existingSecret": ""}})


CHANGES: list[tuple[str, Any, set[str]]] = [
    ("workers", 4, {"Deployment worker-tide"}),
    ("placement", "least_load", {"ConfigMap config", "Deployment gateway", "Deployment router"}),
    (
        "engine",
        {"kind": "vllm", "max_running": 7},
        {"ConfigMap config", "Deployment gateway", "Deployment router", "Deployment worker-tide"},
    ),
]


@pytest.mark.parametrize(("key", "value", "changed"), CHANGES, ids=[key for key, *_ in CHANGES])
def test_a_change_of_a_pool_touches_only_what_reads_it(key: str, value: Any, changed: set[str]) -> None:
    assert _changed({"pools": [{"name": "tide", "model": "m", key: value}, {"name": "moon", "model": "m"}]}) == changed


def test_a_price_restarts_gateways_and_a_class_restarts_routers() -> None:
    prices = {"models": {"tide": {"prompt": 1.0, "completion": 2.0}}}
    assert _changed({"prices": prices}) == {"ConfigMap config", "Deployment gateway"}
    assert _changed({"classes": {"flex": {"max_queued": 7}}}) == {"ConfigMap config", "Deployment router"}


def _changed(config: dict[str, Any]) -> set[str]:
    """The objects that differ when the config is changed."""
    given = values(EXAMPLES[0])
    given["config"] = {"pools": [{"name": "tide", "model": "m"}, {"name": "moon", "model": "m"}]}
    before = {_id(item): item for item in render(given)}
    after = {_id(item): item for item in render({**given, "config": {**given["config"], **config}})}
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _id(item: dict[str, Any]) -> str:
    return f"{item['kind']} {item['metadata']['name'].removeprefix('shore-tidegate-')}"


def test_two_renders_agree_and_pods_do_not_carry_the_version_of_the_chart() -> None:
    given = everything(EXAMPLES[0])
    assert render(given) == render(given)
    for item in render(given):
        for template in templates(item):
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & template["metadata"]["labels"].keys()


@pytest.mark.parametrize("release", ["shore", "7", "7b.test", "r" * 53, "tidegate"])
def test_names_are_valid_and_differ_whatever_release_and_pools_are_called(release: str) -> None:
    pools = ("qwen2.5-7b", "qwen2-5-7b", "qwen2_5-7b", "1e3", "7", "p" * 63, "a.")
    given = everything(EXAMPLES[0])
    given["config"]["pools"] = [{"name": pool, "model": "m"} for pool in pools]
    objects = render(given, release)
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)
    assert not [name for _, name in names if not re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", name)]
    assert not [name for kind, name in names if kind == "StatefulSet" and len(name) > 52]
    selectors = [
        tuple(item["spec"]["selector"]["matchLabels"].values()) for item in objects if item["kind"] == "Deployment"
    ]
    assert len(set(selectors)) == len(selectors)
    for item in objects:
        if item["kind"] == "Deployment":
            kinds.check(item, "1.37")


def test_the_bucket_is_made_by_a_job_that_nothing_waits_for_and_no_upgrade_changes() -> None:
    minio = {"bundled": {"enabled": True, "kind": "minio"}}

    def job(**changed: Any) -> dict[str, Any]:
        (found,) = [
            item
            for item in render({**values(EXAMPLES[0]), "objectStore": minio, **changed})
            if item["kind"] == "Job" and "bucket" in _id(item)
        ]
        return found

    assert "annotations" not in job()["metadata"]
    other = job(image={"pullSecrets": [{"name": "registry"}]})
    assert other["spec"] != job()["spec"]
    assert other["metadata"]["name"] != job()["metadata"]["name"]


BROUGHT: dict[str, Any] = {
    "podLabels": {"team": "sea"},
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
}


def test_what_operators_bring_is_in_every_pod_of_the_component() -> None:
    given = values(EXAMPLES[0])
    for component in ("gateway", "router", "workers", "trainer"):
        # There is one trainer, so it has nothing to spread.
        brought = {key: BROUGHT[key] for key in BROUGHT if component != "trainer" or key != "topologySpreadConstraints"}
        given[component] = {**given[component], **brought}
    given["workers"] |= {"hostIPC": True, "readOnlyRootFilesystem": False}
    given["image"] = {"pullSecrets": [{"name": "registry"}], "digests": {"gateway": "sha256:" + "a" * 64}}
    given["storageClass"] = "fast"
    given["serviceAccount"] = {"annotations": {"eks.amazonaws.com/role-arn": "arn"}}
    objects = render(given)
    for item in objects:
        kinds.check(item, "1.37")
        for claim in (
            [item]
            if item["kind"] == "PersistentVolumeClaim"
            else item["spec"].get("volumeClaimTemplates", [])
            if "spec" in item
            else []
        ):
            assert claim["spec"]["storageClassName"] == "fast"
        if not (template := item.get("spec", {}).get("template")):
            continue
        pod = template["spec"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}], _id(item)
        if item["kind"] != "Deployment":
            continue
        assert template["metadata"]["labels"]["team"] == "sea"
        assert template["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        container = pod["containers"][0]
        assert BROUGHT["extraEnv"][0] in container["env"]
        assert BROUGHT["extraVolumes"][0] in pod["volumes"]
        assert BROUGHT["extraVolumeMounts"][0] in container["volumeMounts"]
        assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("high", "nvidia")
        spread = None if "trainer" in _id(item) else BROUGHT["topologySpreadConstraints"]
        assert pod.get("topologySpreadConstraints") == spread
        is_worker = "worker" in _id(item)
        assert pod.get("hostIPC", False) is is_worker
        assert container["securityContext"]["readOnlyRootFilesystem"] is not is_worker
        if "gateway" in _id(item):
            assert container["image"] == "localhost/tidegate/gateway@sha256:" + "a" * 64


def test_a_model_of_the_values_is_imported_by_a_job_of_its_own() -> None:
    given = values(EXAMPLES[0])
    given["models"] = [
        {"name": "qwen3-32b", "source": "hf://Qwen/Qwen3-32B@main"},
        {"name": "tiny", "source": "smollm2-135m-instruct", "golden": True, "alias": "stable"},
    ]
    given["imports"] = {"hubTokenSecret": "hub"}
    jobs = {_id(item): item for item in render(given) if "import-" in _id(item)}
    assert [name.rpartition("-")[0] for name in jobs] == ["Job import-qwen3-32b", "Job import-tiny"]
    for item in jobs.values():
        kinds.check(item, "1.37")
    large, tiny = (item["spec"]["template"]["spec"]["containers"][0] for item in jobs.values())
    assert large["command"][2:] == ["import", "hf://Qwen/Qwen3-32B@main", "--name=qwen3-32b", "--no-golden"]
    assert tiny["command"][3:] == ["smollm2-135m-instruct", "--name=tiny", "--alias=stable", "--golden"]
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert token in large["env"]
    given["models"][0]["source"] = "hf://Qwen/Qwen3-32B@v2"
    assert jobs.keys() & {_id(item) for item in render(given)} == {list(jobs)[1]}


def test_an_account_that_exists_is_used() -> None:
    objects = render({**values(EXAMPLES[0]), "serviceAccount": {"name": "mine"}})
    assert not [item for item in objects if item["kind"] == "ServiceAccount" and "secrets" not in _id(item)]
    accounts = {spec["serviceAccountName"] for component, spec in pods(tuple(objects)) if component in PROCESSES}
    assert accounts == {"mine"}


PROCESSES = {"gateway", "router", "worker", "trainer"}


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (
            "config.pools",
            [{"name": "tide", "model": "Qwen/Qwen3-32B"}],
            "pool tide: model Qwen/Qwen3-32B is no registry",
        ),
        (
            "config.pools",
            [{"name": "tide", "model": "m", "engine": {"kind": "vllm", "tensor_parallel": 8, "nodes": 3}}],
            "pool tide: engine.nodes = 3: each node has the same number of GPUs.* = 8",
        ),
        (
            "config.pools",
            [
                {
                    "name": "tide",
                    "model": "m",
                    "engine": {"kind": "vllm", "tensor_parallel": 2, "nodes": 2},
                    "adapters": {"names": ["a"]},
                }
            ],
            "pool tide: adapters and engine.nodes = 2",
        ),
        ("gateway.autoscaling", {"enabled": True, "minReplicas": 5, "maxReplicas": 2}, "minReplicas = 5 is more than"),
        ("workers.pools", {"tide": {"gpus": 1}}, r"workers\.pools\.tide: config\.pools has no pool of this name"),
    ],
)
def test_what_only_several_values_together_show_is_told(path: str, value: Any, told: str) -> None:
    given = values(EXAMPLES[0])
    _set(given, path, value)
    with pytest.raises(helm.HelmError, match=told):
        render(given)


WRONG: list[tuple[str, Any]] = [
    ("gateway.replica", 3),
    ("gateway.replicas", 0),
    ("workers.device", "tpu"),
    ("workers.pools", {"tide": {"gpu": 2}}),
    ("config.pools", []),
    ("config.pools", [{"name": "a b", "model": "m"}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "max_runing": 3}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "nodes": 65}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "data_parallel": 2}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "executor": "ray"}}]),
    ("config.pools", [{"name": "a", "model": "m", "engine": {"kind": "vllm", "args": {"trust_remote_code": True}}}]),
    ("config.classes", {"urgent": {}}),
    ("models", [{"name": "qwen", "source": "Qwen/Qwen3-32B"}]),
    ("models", [{"name": "Qwen", "source": "hf://Qwen/Qwen3-32B"}]),
    ("signing.existingSecret", ""),
    ("redis.bundled.enabled", False),
    ("objectStore.bundled.enabled", False),
    ("objectStore.bundled.kind", "garage"),
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
    assert policies["bucket"] == policies["import"] == policies["secrets"] == []
    assert _callers(policies["redis"]) == {(6379, "router")}
    assert _callers(policies["worker"]) == {(8081, "gateway"), (8080, None)}
    assert _callers(policies["router"]) == {(8081, "gateway"), (8081, "worker"), (8081, "trainer"), (8080, None)}


def test_no_pod_reaches_the_metadata_service_and_bundled_servers_reach_nobody() -> None:
    egress = {
        item["metadata"]["name"].removeprefix("shore-tidegate-"): item["spec"]["egress"]
        for item in rendered(EXAMPLES[0])
        if item["kind"] == "NetworkPolicy"
    }
    components = {component for component, _ in pods(rendered(EXAMPLES[0]))}
    assert egress.keys() == components | {"import", "follower", "bucket"}
    assert {name for name, rules in egress.items() if not rules} == {"redis", "seaweedfs", "postgres"}
    for (rule,) in filter(None, egress.values()):
        blocks = {place["ipBlock"]["cidr"]: place["ipBlock"]["except"] for place in rule["to"] if "ipBlock" in place}
        assert blocks == {"0.0.0.0/0": ["169.254.169.254/32"], "::/0": ["fd00:ec2::254/128"]}


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


def test_dashboards_and_rules_reach_the_cluster_unchanged() -> None:
    objects = {item["kind"]: item for item in rendered(EXAMPLES[0], True)}
    files = [Path(f"deploy/observability/rules/{name}.yaml") for name in ("recording", "alerts")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert objects["PrometheusRule"]["spec"]["groups"] == groups
    boards = {path.name: path.read_text() for path in Path("deploy/observability/dashboards").glob("*.json")}
    assert len(boards) == 9
    (shown,) = (item["data"] for item in rendered(EXAMPLES[0], True) if "tidegate-cost.json" in item.get("data", {}))
    assert {name.removeprefix("tidegate-"): text for name, text in shown.items()} == boards


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
