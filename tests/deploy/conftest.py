import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import pod_images
from tests.deploy.containers import Containers, missing_for_pods
from tests.deploy.pod_images import BASE
from tests.support.prefetch import Prefetch

# A folder that keeps the built images for the next run; without it they are removed.
KEPT = "TEST_STORE"


def fetched(prefetch: Prefetch, tools: str) -> dict[str, str]:
    """An environment with one set of programs of scripts/tools.sh. Skips the test where they cannot be downloaded."""
    prefetch.wait("scripts/tools.sh")
    run = subprocess.run(["scripts/tools.sh", tools], capture_output=True, text=True, timeout=240)
    if run.returncode == 3:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr
    return {**os.environ, "PATH": f"{Path('.tools/bin').absolute()}:{os.environ['PATH']}:/usr/sbin:/sbin"}


@pytest.fixture(scope="session")
def tools(prefetch: Prefetch) -> dict[str, str]:
    return fetched(prefetch, "prometheus")


@pytest.fixture(scope="session")
def container_tools(prefetch: Prefetch) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.skip("only root can build images here without a registry")
    return fetched(prefetch, "containers")


@pytest.fixture(scope="session")
def containers(container_tools: dict[str, str]) -> Iterator[Containers]:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no namespace for mounts")
    kept = os.environ.get(KEPT)
    containers = Containers(container_tools, Path(kept).absolute() if kept else None)
    try:
        if not containers.holds_images():
            pytest.skip("podman can unpack no image on this machine")
        yield containers
    finally:
        containers.close()


@pytest.fixture(scope="session")
def base(containers: Containers) -> None:
    if containers.call("podman", "image", "exists", BASE).returncode:
        made = containers.call("scripts/base_image.sh", BASE)
        if made.returncode == 3:
            pytest.skip(f"no base image can be made here: {made.stdout[-300:]}{made.stderr[-300:]}")
        assert made.returncode == 0, made.stderr
    if not containers.builds_on(BASE):
        pytest.skip("buildah can run no program on this machine")


@pytest.fixture(scope="session")
def pods(containers: Containers, base: None) -> Containers:
    """Where pods and networks can be made, with all images that a cluster on CPUs needs."""
    if missing := missing_for_pods():
        pytest.skip(f"podman makes no pods here without {', '.join(missing)}: install these packages")
    tried = containers.call("podman", "run", "--rm", BASE, "true")
    if tried.returncode:
        pytest.skip(f"this machine runs no containers: {tried.stderr[-300:]}")
    pod_images.build(containers)
    return containers
