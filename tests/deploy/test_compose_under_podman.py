"""docker-compose.yml under podman, with real images: every container killed, an upgrade under load, every volume lost.

It takes minutes where the images are built already, and an hour where not. So only `make drills` does it. docker is a
stand-in (podman_docker.py), and so are the images of other projects (standins/Dockerfile). Workers run the simulated
engine.
"""

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import grpc
import httpx
import pytest

from loadtests.target import Target
from services.local.ports import Ports
from tests.deploy import pod_images
from tests.deploy.containers import Containers
from tests.deploy.podman_installation import PodmanInstallation
from tests.robustness.request import chat
from tests.robustness.response import Response, mismatch
from tests.robustness.workload import RequestLog, Workload
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2 as pb
from tidegate.inference.v1.inference_pb2_grpc import InferenceServiceStub

if not os.environ.get("TEST_PODS"):
    # At import, because the tests' fixtures would download programs.
    pytest.skip("`make drills` plays pods; TEST_PODS=1 does it here", allow_module_level=True)

pytestmark = pytest.mark.timeout(3 * 3600)

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 1, engine: {kind: simulated, step_ms: 1}}
classes:
  default: {max_queued: 1000, max_wait_s: 300}
"""
NEXT = "drill-next"
BACKUP = "before-the-loss"
TRAEFIK_ERROR = "error during body copy"
CLIENTS = 4
SERVING_S = 180.0
QUESTION = "Where does the tide go?"
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
REQUESTS = [
    chat(f"{QUESTION} {number}", max_tokens=24, temperature=0, **(STREAMED if number % 2 else {}))
    for number in range(8)
]
STAY = {
    *("gateway-1", "gateway-2", "router-1", "router-2", "worker-cpu", "trainer-cpu"),
    *("traefik", "redis", "seaweedfs", "postgres", "prometheus", "grafana"),
}


@dataclass(frozen=True, slots=True)
class Client:
    """Asks through Traefik."""

    rest: str
    grpc: str
    key: str

    def ask(self) -> tuple[str, str]:
        """The answer to one question over REST, and the version that gave it."""
        body = {
            "model": "tide",
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 12,
            "temperature": 0,
        }
        with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=60, trust_env=False) as http:
            response = http.post(f"{self.rest}/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        answer = str(response.json()["choices"][0]["message"]["content"])
        return answer, response.headers["x-tidegate-model-version"]

    async def ask_over_grpc(self) -> str:
        sampling = pb.Sampling(max_tokens=12, temperature=0)
        request = pb.ChatRequest(model="tide", messages=[pb.Message(role="user", content=QUESTION)], sampling=sampling)
        metadata = (("authorization", f"Bearer {self.key}"),)
        async with grpc.aio.insecure_channel(self.grpc) as channel:
            call = InferenceServiceStub(channel).Chat(request, metadata=metadata, timeout=60)
            return "".join([choice.content async for message in call for choice in message.choices])

    def answers(self) -> bool:
        try:
            return bool(self.ask()[0])
        except (AssertionError, httpx.HTTPError):
            return False

    async def wait(self, after: str) -> None:
        asked = partial(asyncio.to_thread, self.answers)
        await wait_until(asked, description=f"an answer after {after}", timeout=SERVING_S, every=0.5)


async def test_it_survives_kills_an_upgrade_and_the_loss_of_every_volume(pods: Containers, tmp_path: Path) -> None:
    installation = PodmanInstallation.make(tmp_path, pods, CONFIG)
    installation.use_images()
    with Ports(Random()) as ports:
        rest, grpc_, grafana = (ports.free() for _ in range(3))
    settings = {"CONFIG_FILE": "./tide.yaml", "POOL": "tide"}
    installation.change(settings | {"REST_PORT": str(rest), "GRPC_PORT": str(grpc_), "GRAFANA_PORT": str(grafana)})
    client = Client(f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc_}", secret(installation, "api-key"))
    try:
        await drill(installation, client)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{logs(pods)}") from None
    finally:
        pods.clear()


async def drill(installation: PodmanInstallation, client: Client) -> None:
    installation.docker_compose("up", "-d")
    # Not what a new registry begins with.
    importing = ("tidegate", "models", "import", "simulated:7", "--name", "simulated")
    installation.docker_compose("exec", "-T", "trainer-cpu", *importing)
    await client.wait("the start")
    installation.docker_compose("up", "-d", "--wait", *sorted(STAY))
    assert installation.names().keys() >= STAY
    tenant = Client(client.rest, client.grpc, new_key(client.rest, secret(installation, "admin-key")))
    answer = tenant.ask()
    assert await tenant.ask_over_grpc() == answer[0]

    await kill_each(installation, tenant, answer)
    await upgrade(installation, tenant)

    installation.script("backup.sh", BACKUP)
    installation.docker_compose("down", "--volumes")
    assert not installation.volumes()
    shutil.rmtree(installation.root / ".secrets")
    (installation.root / ".env").unlink()
    installation.script("restore.sh", BACKUP)
    await tenant.wait("the restore")
    assert tenant.ask() == answer
    assert await tenant.ask_over_grpc() == answer[0]


async def kill_each(installation: PodmanInstallation, client: Client, answer: tuple[str, str]) -> None:
    """As the kernel does when memory is short: nobody told podman to stop them."""
    containers, names = installation.containers, installation.names()
    for service in sorted(STAY):
        os.kill(int(containers.podman("inspect", "--format={{.State.Pid}}", names[service])), signal.SIGKILL)
        asked = partial(restarted, containers, names[service])
        await wait_until(asked, description=f"{service} runs again", timeout=SERVING_S, every=0.5)
        await client.wait(f"the end of {service}")
        assert client.ask() == answer, service
    installation.docker_compose("up", "-d", "--wait", *sorted(STAY))


def restarted(containers: Containers, name: str) -> bool:
    told = containers.podman("inspect", "--format={{.RestartCount}} {{.State.Running}}", name)
    return told == "1 true"


async def upgrade(installation: PodmanInstallation, client: Client) -> None:
    """To images that differ by a label, while requests are always open."""
    for image in pod_images.OURS:
        pod_images.next_version(installation.containers, image, NEXT)
    before = images(installation)
    random, target = Random(1), Target.of(f"{client.rest}/v1", client.key)
    workload = Workload(target, random)
    try:
        expected = await workload.expected_responses(REQUESTS)
        installation.change({"TAG": NEXT})
        running = asyncio.create_task(asyncio.to_thread(installation.script, "upgrade.sh"))
        await workload.closed_loop(lambda: random.choice(REQUESTS), CLIENTS, running)
        running.result()
    finally:
        workload.close()
    after = images(installation)
    ours = {service for service, image in before.items() if image.startswith(pod_images.PREFIX)}
    assert {service for service in before if before[service] != after[service]} == ours
    wrong = [said for log in workload.log if (said := problem(log, expected[log.request]))]
    assert not wrong, f"{len(wrong)} of {len(workload.log)}: {wrong[:5]}\n{traefik_errors(installation)}"
    assert len(workload.log) > len(ours)


def problem(log: RequestLog, expected: Response) -> str | None:
    if log.status != 200 or log.error or not log.complete:
        kind = f"stream: {log.request.document.get('stream', False)}, {len(log.arrivals_s)} parts in {log.took_s:.3f} s"
        return f"at {log.sent_s:.1f} s: status {log.status}, {log.error or 'not complete'} ({kind})"
    return mismatch(log.response, expected)


def traefik_errors(installation: PodmanInstallation) -> str:
    """Why Traefik has cut answers off, in its own words: docs/deploy.md has the only reason that was ever found."""
    told = installation.containers.podman("logs", installation.names()["traefik"])
    errors = [line for line in told.splitlines() if TRAEFIK_ERROR in line]
    return "\n".join([f"Traefik: {len(errors)} of {TRAEFIK_ERROR!r}", *errors[-10:]])


def images(installation: PodmanInstallation) -> dict[str, str]:
    containers = installation.containers
    return {
        service: containers.podman("inspect", "--format={{.ImageName}}", name)
        for service, name in installation.names().items()
        if service in STAY
    }


def new_key(rest: str, admin: str) -> str:
    """The key of a new tenant: what only the database knows."""
    with httpx.Client(headers={"Authorization": f"Bearer {admin}"}, timeout=30, trust_env=False) as http:
        assert http.post(f"{rest}/v1/admin/tenants", json={"name": "acme"}).status_code == 200
        made = http.post(f"{rest}/v1/admin/keys", json={"name": "laptop", "tenant": "acme"})
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


def secret(installation: PodmanInstallation, name: str) -> str:
    return (installation.root / ".secrets" / name).read_text()


def logs(containers: Containers) -> str:
    names = containers.podman("ps", "--all", "--format={{.Names}}").split()
    told = {name: containers.call("podman", "logs", "--tail=10", name) for name in names}
    return "\n".join(f"--- {name}\n{log.stdout}{log.stderr}" for name, log in told.items())
