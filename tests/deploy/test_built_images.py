"""Images built without a registry, on a base made of Debian's packages, and run as the deployments run them.

One image takes minutes on two cores, so only `make drills` builds them. In `make test`, test_wheel.py stands for the
code that they hold, and test_images.py for the rest of docker/Dockerfile.
"""

import os
from functools import partial
from pathlib import Path

import pytest

from tests.deploy import pod_images
from tests.deploy.containers import RESTRICTED, Containers
from tests.deploy.pod_images import BASE
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(600)

TAG = "test"
BUILT = os.environ.get("TEST_IMAGES", "").split()
CONFIG = f"--volume={Path('tidegate.yaml').absolute()}:/etc/tidegate/tidegate.yaml:ro"
GATEWAY = [
    "TIDEGATE_ROUTERS=nowhere:8081",
    f"TIDEGATE_API_KEY={'a' * 40}",
    f"TIDEGATE_ADMIN_KEY={'b' * 40}",
    f"TIDEGATE_SERVER_SECRET={'c' * 40}",
]
ROUTER = ["TIDEGATE_REDIS_URL=redis://nowhere:6379/0"]
ENVIRONMENT = {"gateway": GATEWAY, "router": ROUTER}

if not BUILT:
    # At import, because the tests' fixtures would download programs.
    pytest.skip("`make drills` builds images; TEST_IMAGES names them", allow_module_level=True)

each = pytest.mark.parametrize("image", BUILT)


@pytest.fixture(scope="module")
def built(containers: Containers, base: None) -> None:
    for image in BUILT:
        pod_images.ours(containers, image, TAG)


@pytest.fixture(scope="module")
def running(containers: Containers, built: None) -> Containers:
    """Skips where not even Debian itself runs in a container."""
    tried = containers.call("podman", "run", "--rm", "--network=none", BASE, "true")
    if tried.returncode:
        pytest.skip(f"this machine runs no containers: {tried.stderr[-300:]}")
    return containers


@each
def test_an_image_holds_what_orchestrators_read(containers: Containers, built: None, image: str) -> None:
    told = containers.configuration(tag(image))
    assert told["User"] == "10001:10001"
    assert told["Config"]["Cmd"] == ["python3", "-m", f"services.{image}"]
    assert told["Healthcheck"]["Test"][0] == "CMD"


@each
def test_nothing_is_compiled_at_its_start(running: Containers, image: str) -> None:
    look = "assert os.path.exists(code.__cached__) and os.path.exists(grpc.__cached__)"
    code = f"import os, grpc, services.{image}.app as code; {look}"
    running.podman("run", "--rm", *RESTRICTED, tag(image), "python3", "-c", code)


@each
async def test_it_lives_on_a_root_that_it_cannot_write_to(running: Containers, image: str) -> None:
    container = running.start(tag(image), CONFIG, *(f"--env={variable}" for variable in ENVIRONMENT[image]))
    await lives(running, container)
    assert running.call("podman", "exec", container, "touch", "/opt/code/x").returncode != 0
    assert running.podman("exec", container, "id", "--user") == "10001"
    running.podman("stop", "--time=20", container)
    assert running.podman("inspect", "--format={{.State.ExitCode}}", container) == "0"


@each
async def test_its_health_check_waits_for_what_it_needs(running: Containers, image: str) -> None:
    container = running.start(tag(image), CONFIG, *(f"--env={variable}" for variable in ENVIRONMENT[image]))
    await lives(running, container)
    _, *check = running.configuration(tag(image))["Healthcheck"]["Test"]
    asked = running.call("podman", "exec", container, *check)
    assert asked.returncode == 1
    assert "503" in asked.stderr


@each
def test_a_missing_setting_is_named(running: Containers, image: str) -> None:
    variable, *others = ENVIRONMENT[image]
    ended = running.run(tag(image), CONFIG, *(f"--env={variable}" for variable in others))
    assert ended.returncode == 2
    assert f"{variable.split('=')[0]} is not set" in ended.stderr


def tag(image: str) -> str:
    return f"{pod_images.PREFIX}/{image}:{TAG}"


async def lives(containers: Containers, container: str) -> None:
    try:
        await wait_until(partial(answers, containers, container, "/livez"), description="it lives", timeout=60)
    except AssertionError as error:
        logs = containers.call("podman", "logs", container)
        raise AssertionError(f"{error}; it says: {logs.stdout[-2000:]}{logs.stderr[-2000:]}") from None


def answers(containers: Containers, container: str, path: str) -> bool:
    ask = f"import urllib.request as http; http.urlopen('http://127.0.0.1:8080{path}', timeout=2)"
    return containers.call("podman", "exec", container, "python3", "-c", ask).returncode == 0
