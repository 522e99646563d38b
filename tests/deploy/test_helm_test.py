"""What `helm test` runs, against a cluster: it says that all is well, or what is wrong."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from services.local.ports import Ports
from tests.deploy.chart import CHART, EXAMPLES, pods, rendered
from tests.support.cluster import REPOSITORY, RunningCluster

LIMIT_S = "60"


def test_pools_that_answer_are_told(simulated: RunningCluster) -> None:
    run = _run(simulated)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["tide over REST", "tide over gRPC"]
    said = [line.partition(" s: ")[2] for line in lines]
    assert said[0] == said[1] != "''"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"API_KEY": "tg-wrong"}, "the gateways have another key than the Secret"),
        ({"POOLS": '["tide", "no_certificates"]'}, "the gateways have no such pool"),
    ],
    ids=["key", "pool"],
)
def test_what_is_wrong_is_told_for_both_ways(simulated: RunningCluster, changed: dict[str, str], told: str) -> None:
    run = _run(simulated, **changed)
    assert run.returncode == 1
    assert sum(told in line for line in run.stdout.splitlines()) == 2
    assert run.stderr.startswith("no right answer from ")


def test_gateways_that_are_not_there_are_told(simulated: RunningCluster, ports: Ports) -> None:
    nobody = f"127.0.0.1:{ports.free()}"
    run = _run(simulated, REST=nobody, GRPC=nobody)
    assert run.returncode == 1
    assert f"tide over REST: no answer from {nobody}" in run.stdout
    assert f"tide over gRPC: UNAVAILABLE from {nobody}" in run.stdout


def test_the_pod_asks_every_pool_and_has_the_clients_key_alone() -> None:
    (pod,) = [pod for component, pod in pods(rendered(EXAMPLES[0])) if component == "test"]
    container = pod["containers"][0]
    assert container["command"][2] == (CHART / "files/ask.py").read_text()
    # Kubernetes would put variables in there.
    assert "$(" not in container["command"][2]
    variables: dict[str, Any] = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["REST"] == "shore-tidegate-gateway:8080"
    assert json.loads(variables["POOLS"]) == ["smollm2-135m-instruct"]
    secrets = [each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"] if "valueFrom" in each]
    assert secrets == ["api-key"]


def _run(cluster: RunningCluster, **changed: str) -> subprocess.CompletedProcess[str]:
    asked = {
        "REST": cluster.rest.removeprefix("http://").removesuffix("/v1"),
        "GRPC": cluster.grpc,
        "API_KEY": cluster.key,
        "LIMIT_S": LIMIT_S,
        "POOLS": '["tide"]',
    }
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "proto/gen"), **asked, **changed}
    command = [sys.executable, "-c", (CHART / "files/ask.py").read_text()]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
