"""The chart's CPU example under `podman kube play`, with real images: it answers a chat, also after pods were killed.

It takes minutes where the images are built already, and an hour where not. So only `make drills` does it.
"""

import base64
import json
import os
import signal
import subprocess
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx
import pytest

from tests.deploy import pod_images
from tests.deploy.chart import CHART, Object, render, secrets_plan, templates, values
from tests.deploy.containers import Containers
from tests.deploy.kube_play import KubePlay
from tests.support.wait import wait_until

if not os.environ.get("TEST_PODS"):
    # At import, because the tests' fixtures would download programs.
    pytest.skip("`make drills` plays pods; TEST_PODS=1 does it here", allow_module_level=True)

pytestmark = pytest.mark.timeout(3 * 3600)

READY_S = 120.0
MODEL_READY_S = 900.0
POOL = "smollm2-135m-instruct"
STORES = ("redis", "postgres", "seaweedfs")
SERVERS = ("router", "gateway", "worker", "trainer")
SIGNING = "tidegate-signing"


async def test_the_cpu_example_answers_and_survives_a_killed_gateway_and_a_killed_worker_pod(
    pods: Containers, tmp_path: Path
) -> None:
    objects = tuple(render(example()))
    play = KubePlay(pods, tmp_path, objects, secrets(objects))
    workloads = {name: workload(objects, name) for name in (*STORES, *SERVERS, "import", "test")}
    play.give_addresses(*workloads.values())
    try:
        started = {name: play.start(workloads[name]) for name in STORES}
        for name in STORES:
            await until(partial(checked, pods, started[name], workloads[name]), name, READY_S)
        status, log = play.run(workloads["import"])
        assert status == 0, log
        started |= {name: play.start(workloads[name]) for name in SERVERS}
        await answers(play, workloads)

        kill(pods, started["gateway"])
        await answers(play, workloads)

        # The controller of a Deployment makes a new pod, with an empty cache.
        play.remove(workloads["worker"])
        started["worker"] = play.start(workloads["worker"])
        await answers(play, workloads)
        assert restarts(pods, started["gateway"]) == 1
        assert {name: restarts(pods, started[name]) for name in SERVERS if name != "gateway"} == dict.fromkeys(
            ("router", "worker", "trainer"), 0
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{logs(pods)}") from None
    finally:
        pods.clear()
        play.close()


def example() -> Object:
    """cpu-demo.yaml, with the images that are at hand here."""
    given = values(CHART / "examples/cpu-demo.yaml")
    given["image"] = {"prefix": pod_images.PREFIX, "tag": pod_images.TAG}
    given["redis"]["bundled"]["image"] = pod_images.standin("redis")
    given["database"]["bundled"]["image"] = pod_images.standin("postgres")
    given["objectStore"]["bundled"]["seaweedfs"] = {"image": pod_images.standin("seaweedfs")}
    return given


def secrets(objects: tuple[Object, ...]) -> dict[str, dict[str, str]]:
    """Those that the chart's Job makes, by its own code, and the signing key of step 3 in docs/deploy.md."""
    spec = spec_from_file_location("make_secrets", CHART / "files/make_secrets.py")
    assert spec
    assert spec.loader
    job = module_from_spec(spec)
    spec.loader.exec_module(job)
    kept = Namespace()
    job.make(kept, secrets_plan(objects), {})
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=True).stdout
    public = ["openssl", "pkey", "-pubout", "-outform", "DER"]
    trusted = base64.b64encode(subprocess.run(public, input=key, capture_output=True, check=True).stdout)
    return kept.made | {SIGNING: {"signing-key.pem": key.decode(), "trusted-keys": trusted.decode()}}


class Namespace:
    """An empty one, as the Job sees it."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, str]] = {}

    def get(self, name: str) -> None:
        assert name not in self.made

    def create(self, secret: Object) -> None:
        data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        self.made[secret["metadata"]["name"]] = data


def workload(objects: tuple[Object, ...], component: str) -> Object:
    """The only object that makes pods of this component."""
    (found,) = (
        item
        for item in objects
        for template in templates(item)
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    return found


async def answers(play: KubePlay, workloads: dict[str, Object]) -> None:
    """All servers get ready, and the pod of `helm test` asks over REST and over gRPC."""
    for name in SERVERS:
        address = play.addresses[workloads[name]["metadata"]["name"]]
        await until(partial(ready, address), name, MODEL_READY_S if name == "worker" else READY_S)
    status, log = play.run(workloads["test"])
    assert status == 0, log
    assert [line.partition(": ")[0] for line in log.splitlines()] == [f"{POOL} over REST", f"{POOL} over gRPC"]


async def until(condition: partial[bool], name: str, limit_s: float) -> None:
    await wait_until(condition, description=f"{name} is ready", timeout=limit_s, every=0.5)


def checked(pods: Containers, container: str, workload: Object) -> bool:
    """The readiness probe of a store is a command."""
    (template,) = templates(workload)
    command = template["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
    return pods.call("podman", "exec", container, *command).returncode == 0


def ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}:8080/readyz", timeout=3, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def kill(pods: Containers, container: str) -> None:
    """As the kernel does when memory is short: nobody told podman to stop it."""
    os.kill(int(pods.podman("inspect", "--format={{.State.Pid}}", container)), signal.SIGKILL)


def restarts(pods: Containers, container: str) -> int:
    return int(json.loads(pods.podman("inspect", "--format={{.RestartCount}}", container)))


def logs(pods: Containers) -> str:
    names = pods.podman("ps", "--all", "--format={{.Names}}").split()
    told = {name: pods.call("podman", "logs", "--tail=15", name) for name in names if "infra" not in name}
    return "\n".join(f"--- {name}\n{log.stdout}{log.stderr}" for name, log in told.items())
