"""The chart's workers: groups of several nodes, GPUs of every name, and what follows the size of a model."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy import kinds
from tests.deploy.chart import CHART, EXAMPLES, Object, pods, render, rendered, templates, values

GROUP = CHART / "examples/deepseek-v3.yaml"
GPU = "nvidia.com/gpu"


def test_a_pool_of_several_nodes_is_a_leader_with_followers() -> None:
    group = _group(rendered(GROUP))
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    leader, follower = templates(group)
    for pod in (leader, follower):
        assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == 8
        assert pod["spec"]["terminationGracePeriodSeconds"] == 150
    assert follower["spec"]["containers"][0]["command"][-1] == "--follow"
    assert "worker-deepseek-v3" not in {
        item["metadata"]["name"].removeprefix("shore-tidegate-")
        for item in rendered(GROUP)
        if item["kind"] == "Deployment"
    }


def test_the_processes_of_a_group_end_together_so_kubernetes_only_starts_them_again() -> None:
    spec = _group(rendered(GROUP))["spec"]
    # Rank 0 gets ready after its followers: waiting for it first would be waiting for ever.
    assert spec["startupPolicy"] == "LeaderCreated"
    assert spec["leaderWorkerTemplate"]["restartPolicy"] == "None"


def test_a_follower_finds_rank_0_by_its_name_and_knows_its_own_number() -> None:
    _, follower = templates(_group(rendered(GROUP)))
    variables = {each["name"]: each.get("value") for each in follower["spec"]["containers"][0]["env"]}
    assert variables["TIDEGATE_GROUP_ADDRESS"] == "$(LWS_LEADER_ADDRESS):8081"
    assert variables["TIDEGATE_NODE_RANK"] == "$(LWS_WORKER_INDEX)"


def test_a_change_of_the_pool_restarts_the_whole_group_and_more_workers_restart_nothing() -> None:
    def group(**changed: Any) -> Object:
        given = values(GROUP)
        given["config"]["pools"][0] |= changed
        return _group(tuple(render(given)))

    def checksums(item: Object) -> set[str]:
        return {pod["metadata"]["annotations"]["checksum/config"] for pod in templates(item)}

    before, more = group(), group(workers=3)
    assert more["spec"].pop("replicas") == 3
    assert before["spec"].pop("replicas") == 1
    assert more == before
    other = checksums(group(engine={"kind": "vllm", "nodes": 2, "tensor_parallel": 16}))
    assert len(checksums(before)) == len(other) == 1
    assert checksums(before) != other


def test_only_the_nodes_of_a_pool_reach_each_other_at_every_port() -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in rendered(GROUP) if item["kind"] == "NetworkPolicy"}
    pool = policies["shore-tidegate-worker-deepseek-v3"]
    own = pool["podSelector"]
    assert own["matchLabels"]["tidegate/pool"] == "deepseek-v3"
    assert pool["ingress"] == [{"from": [{"podSelector": own}]}]
    for template in templates(_group(rendered(GROUP))):
        assert own["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert policies["shore-tidegate-follower"]["ingress"] == []


def test_a_drained_node_takes_one_group_at_a_time() -> None:
    (budget,) = [
        item["spec"]
        for item in rendered(GROUP)
        if item["kind"] == "PodDisruptionBudget" and "deepseek" in item["metadata"]["name"]
    ]
    assert budget["maxUnavailable"] == 1
    for template in templates(_group(rendered(GROUP))):
        assert budget["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_what_scales_a_pool_finds_it() -> None:
    for example in (GROUP, EXAMPLES[0]):
        objects = {(item["kind"], item["metadata"]["name"]) for item in rendered(example, True)}
        scalers = [item for item in rendered(example, True) if "scaleTargetRef" in item.get("spec", {})]
        scaled = [item["spec"]["scaleTargetRef"] for item in scalers]
        assert {"ScaledObject", "HorizontalPodAutoscaler"} <= {item["kind"] for item in scalers}
        assert {(target["kind"], target["name"]) for target in scaled} <= objects


def test_groups_can_be_kept_on_nodes_that_are_near_each_other() -> None:
    given = values(GROUP)
    given["workers"]["groupTopology"] = "example.com/nvlink-domain"
    annotations = _group(tuple(render(given)))["metadata"]["annotations"]
    assert annotations == {"leaderworkerset.sigs.k8s.io/exclusive-topology": "example.com/nvlink-domain"}


def test_a_groups_name_leaves_room_for_the_numbers_of_its_pods() -> None:
    given = values(GROUP)
    given["config"]["pools"][0]["name"] = "p" * 63
    assert len(_group(tuple(render(given, "r" * 53)))["metadata"]["name"]) <= 46


@pytest.mark.parametrize("name", ["nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-3g.40gb"])
def test_gpus_go_by_the_name_that_the_nodes_give_them(name: str) -> None:
    limits = _worker(gpuResource=name, resources={"limits": {"rdma/hca": 1, "memory": "64Gi"}})["resources"]["limits"]
    assert limits == {name: 1, "rdma/hca": 1, "memory": "64Gi"}


def test_an_image_of_ones_own_is_taken_as_it_is_named() -> None:
    assert _worker(image="registry.example/rocm@sha256:1")["image"] == "registry.example/rocm@sha256:1"


def test_memory_disk_and_time_follow_the_size_of_the_model() -> None:
    small, large = _pod(models=[_model(2)]), _pod(models=[_model(200)])
    assert (_cache(small), _cache(large)) == ("16Gi", "610Gi")
    assert (_start_s(small), _start_s(large)) == (1240, 5200)
    assert (_variable(small, "TIDEGATE_STAGE_LIMIT_S"), _variable(large, "TIDEGATE_STAGE_LIMIT_S")) == ("600", "4000")
    assert (_variable(small, "TIDEGATE_SWAP_LIMIT_S"), _variable(large, "TIDEGATE_SWAP_LIMIT_S")) == ("300", "400")
    assert _start_s(_pod(workers={"modelGb": 200})) == 5200


def test_memory_grows_with_gpus_and_on_a_cpu_with_the_model() -> None:
    offload = {"kind": "vllm", "tensor_parallel": 4, "kv_offload_gib": 99.5}
    assert _memory(_pod()) == ("16Gi", "32Gi")
    assert _memory(_pod(engine=offload)) == ("128Gi", "156Gi")
    assert _memory(_pod(workers={"device": "cpu", "modelGb": 16})) == ("21Gi", "41Gi")


def test_what_the_values_name_stays_as_it_is() -> None:
    own = {"startSeconds": 77, "stageSeconds": 88, "swapSeconds": 99, "cache": {"size": "5Gi"}, "modelGb": 500}
    pod = _pod(workers={**own, "resources": {"limits": {"memory": "9Gi"}}})
    assert (_start_s(pod), _cache(pod)) == (75, "5Gi")
    assert _variable(pod, "TIDEGATE_STAGE_LIMIT_S") == "88"
    assert _variable(pod, "TIDEGATE_SWAP_LIMIT_S") == "99"
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "4"}


def test_a_rollout_waits_as_long_as_the_slowest_worker_may_take() -> None:
    def limit(gb: int) -> str | None:
        given = _given(models=[_model(gb)])
        (router,) = [pod for component, pod in pods(tuple(render(given))) if component == "router"]
        return _variable(router, "TIDEGATE_ROLLOUT_WORKER_LIMIT_S")

    assert (limit(2), limit(689)) == ("1240", "15218")


def test_models_can_lie_on_disks_of_a_class() -> None:
    pod = _pod(workers={"cache": {"storageClass": "nvme", "size": "2Ti"}})
    (cache,) = [volume for volume in pod["volumes"] if volume["name"] == "cache"]
    claim = cache["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]) == ("nvme", {"requests": {"storage": "2Ti"}})
    for item in render(_given(workers={"cache": {"storageClass": "nvme"}})):
        kinds.check(item, "1.29")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_told_of_in_the_docs(example: Path) -> None:
    assert f"examples/{example.name}" in Path("docs/deploy.md").read_text()


def test_the_70b_goes_to_nodes_with_four_h100s() -> None:
    (worker,) = [
        pod for component, pod in pods(rendered(CHART / "examples/llama-3.3-70b.yaml")) if component == "worker"
    ]
    assert worker["nodeSelector"] == {"nvidia.com/gpu.product": "H100-SXM-80GB"}
    assert worker["containers"][0]["resources"]["limits"][GPU] == 4


def _group(objects: tuple[Object, ...]) -> Object:
    (group,) = [item for item in objects if item["kind"] == "LeaderWorkerSet"]
    return group


def _model(gb: int) -> Object:
    return {"name": "m", "source": "hf://sea/m", "sizeGb": gb}


def _given(engine: Object | None = None, workers: Object | None = None, models: Any = ()) -> Object:
    given = values(CHART / "examples/qwen3-32b.yaml")
    given["config"]["pools"] = [{"name": "tide", "model": "m@stable", "engine": engine or {"kind": "vllm"}}]
    return {**given, "models": list(models), "workers": workers or {}}


def _pod(engine: Object | None = None, workers: Object | None = None, models: Any = ()) -> Object:
    (pod,) = [pod for component, pod in pods(tuple(render(_given(engine, workers, models)))) if component == "worker"]
    return pod


def _worker(**workers: Any) -> Object:
    container: Object = _pod(workers=workers)["containers"][0]
    return container


def _cache(pod: Object) -> str:
    return next(str(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"] if volume["name"] == "cache")


def _start_s(pod: Object) -> int:
    probe = pod["containers"][0]["startupProbe"]
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def _memory(pod: Object) -> tuple[str, str]:
    resources = pod["containers"][0]["resources"]
    return resources["requests"]["memory"], resources["limits"]["memory"]


def _variable(pod: Object, name: str) -> str | None:
    return next((each["value"] for each in pod["containers"][0]["env"] if each["name"] == name), None)
