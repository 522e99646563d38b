"""The chart's own pods, run as processes: clients are answered, also after pods were killed."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from services.shared.objectstore import StoreSettings, connect
from tests.deploy.chart import CHART, Object, pods, render, templates, values
from tests.deploy.kubelet import Kubelet, kubelet
from tests.integration.worker.store import publish
from tests.support.redis_servers import server
from tests.support.s3 import running_s3
from tests.support.signing import KEY
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(400)

READY_S = 180.0
SET = "shore-tidegate-worker-tide"


async def test_a_group_answers_over_rest_and_grpc_and_comes_back_with_its_gateway(tmp_path: Path) -> None:
    async with running_s3(tmp_path) as stores:
        await publish(connect(stores))
        with server(tmp_path) as redis:
            objects = tuple(render(_values(stores)))
            secrets = _secrets(stores, f"redis://127.0.0.1:{redis.port}/0", tmp_path)
            with kubelet(tmp_path, _config(objects), secrets, Random()) as node:
                _place(node, objects)
                await _answers(node, objects)
                for pod in (f"{SET}-0-1", "gateway"):
                    node.kill(pod)
                await wait_until(lambda: _starts(node) >= 2, description="rank 0 ends with its follower", timeout=60)
                await _answers(node, objects)


def _starts(node: Kubelet) -> int:
    node.tend()
    return node.pods[f"{SET}-0"].starts


async def _answers(node: Kubelet, objects: tuple[Object, ...]) -> None:
    """All pods get ready, and `helm test` says that all is well."""
    try:
        await wait_until(node.are_ready, description="all pods are ready", timeout=READY_S, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{node.logs()}") from None
    asked = node.run(_container(objects, "test"))
    assert asked.returncode == 0, asked.stdout + asked.stderr + node.logs()
    assert [line.partition(": ")[0] for line in asked.stdout.splitlines()] == ["tide over REST", "tide over gRPC"]


def _place(node: Kubelet, objects: tuple[Object, ...]) -> None:
    """As the controllers of Deployments and of LeaderWorkerSets name their pods; one of each."""
    node.add("router", _container(objects, "router"))
    node.add("gateway", _container(objects, "gateway"))
    (group,) = [item for item in objects if item["kind"] == "LeaderWorkerSet"]
    leader, follower = (template["spec"]["containers"][0] for template in templates(group))
    rank0 = node.add(f"{SET}-0", leader, LWS_WORKER_INDEX="0")
    node.add(f"{SET}-0-1", follower, LWS_WORKER_INDEX="1", LWS_LEADER_ADDRESS=rank0.address)


def _values(stores: StoreSettings) -> Object:
    given = values(CHART / "examples/deepseek-v3.yaml")
    engine = {"kind": "simulated", "nodes": 2, "step_ms": 1.0}
    given["config"] = {"pools": [{"name": "tide", "model": "tide", "workers": 1, "engine": engine}]}
    given["objectStore"] |= {"endpoint": stores.s3_endpoint, "bucket": stores.s3_bucket, "region": stores.s3_region}
    return {**given, "models": [], "trainer": {"enabled": False}}


def _secrets(stores: StoreSettings, redis_url: str, folder: Path) -> dict[str, dict[str, str]]:
    return {
        "tidegate-redis": {"url": redis_url},
        "tidegate-s3": {"access-key": stores.s3_access_key, "secret-key": stores.s3_secret_key},
        "tidegate-database": {"url": f"sqlite:///{folder}/accounts.db"},
        "tidegate-signing": {"trusted-keys": KEY.public},
        "shore-tidegate-auth": {"api-key": "a" * 40, "admin-key": "b" * 40, "server-secret": "c" * 40},
    }


def _config(objects: tuple[Object, ...]) -> str:
    return next(str(item["data"]["tidegate.yaml"]) for item in objects if "tidegate.yaml" in item.get("data", {}))


def _container(objects: tuple[Object, ...], component: str) -> dict[str, Any]:
    return next(dict(pod["containers"][0]) for name, pod in pods(objects) if name == component)
