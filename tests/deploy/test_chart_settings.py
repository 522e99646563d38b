"""Every process of the chart gets what it must be told, and nothing that it does not read."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.shared.signing import SigningKey
from tests.deploy import images
from tests.deploy.chart import EXAMPLES, RELEASE, pods, rendered, secrets_plan
from tests.deploy.processes import check

SECRETS = {
    "url": "redis://host:1/0",
    "api-key": "a" * 40,
    "admin-key": "b" * 40,
    "server-secret": "e" * 40,
    "access-key": "c" * 40,
    "secret-key": "d" * 40,
    "trusted-keys": SigningKey.parse(b"A" * 43 + b"=").public,
}
# What the controller of LeaderWorkerSet puts before a container's own variables.
GROUP = {"LWS_LEADER_ADDRESS": "shore-tidegate-worker-deep-0.shore-tidegate-worker-deep.sea", "LWS_WORKER_INDEX": "1"}
FIELDS = {"status.podIP": "10.1.2.3", "metadata.name": "shore-tidegate-worker-7d9f-x2k"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("all_on", [False, True], ids=["as it is", "all switched on"])
def test_every_process_would_start(example: Path, all_on: bool) -> None:
    seen = set()
    for component, pod in pods(rendered(example, all_on)):
        container = pod["containers"][0]
        if container["image"].startswith("localhost/tidegate/") and component not in ("secrets", "import", "test"):
            image = container["image"].split("/")[2].split(":")[0]
            module = " ".join(container["command"][2:]) if component == "follower" else images.command(image)
            set_by_image = images.variables(image)
            if component == "follower":
                # The image is that of the worker, which listens for orders too.
                set_by_image.pop("TIDEGATE_LISTEN")
            check(module, {**set_by_image, **environment(container)})
            seen.add(component)
    assert {"gateway", "router", "worker", "trainer"} == seen - {"follower"}
    assert ("follower" in seen) is (example.stem == "deepseek-v3")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_secrets_that_the_chart_makes_hold_what_pods_ask_for(example: Path) -> None:
    made = secrets_plan(rendered(example))
    for _, pod in pods(rendered(example)):
        for variable in pod["containers"][0].get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                if not reference["name"].startswith(RELEASE):
                    continue
                assert reference["key"] in made[reference["name"]], variable["name"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_files_that_are_named_are_mounted(example: Path) -> None:
    for component, pod in pods(rendered(example, True)):
        container = pod["containers"][0]
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        files = [value for value in environment(container).values() if value.startswith(("/etc/", "/var/"))]
        assert all(any(file.startswith(mount) for mount in mounts) for file in files), component
        volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def environment(container: dict[str, Any]) -> dict[str, str]:
    """As the kubelet would set it."""
    found: dict[str, str] = {}
    for variable in container.get("env", []):
        value = variable.get("value") or _from(variable["valueFrom"])
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: {**GROUP, **found}[match[1]], value)
    return found


def _from(source: dict[str, Any]) -> str:
    if "fieldRef" in source:
        return FIELDS[source["fieldRef"]["fieldPath"]]
    return SECRETS.get(source["secretKeyRef"]["key"], "password")
