"""All images of a cluster on CPUs, built without a registry: ours, and stand-ins for those of other projects."""

import shutil
import tempfile
from pathlib import Path

from services.local import s3
from tests.deploy.containers import Containers
from tests.robustness.gateways import balancer

BASE = "localhost/tidegate-base"
OURS = ("gateway", "router", "worker-cpu", "trainer-cpu")
PREFIX = "localhost/tidegate"
TAG = "drill"
BUILD_LIMIT_S = 3600.0
"""For one image: those with PyTorch are gigabytes."""

STANDINS = Path("tests/deploy/standins")
NAMED = ("redis", "postgres", "seaweedfs", "traefik", "prometheus", "grafana")
"""Each is the final stage of the Dockerfile in STANDINS; it says what is in them."""


def build(containers: Containers) -> None:
    for image in OURS:
        ours(containers, image, TAG)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        shutil.copytree(STANDINS, context)
        (context / "programs").mkdir()
        shutil.copy(s3.program(), context / "programs/weed")
        shutil.copy(balancer.found() or balancer.PROGRAM, context / "programs/traefik")
        for name in NAMED:
            options = ["--isolation=chroot", "--layers", "--format=docker", f"--build-arg=BASE_IMAGE={BASE}"]
            command = ["buildah", "build", *options, f"--target={name}", f"--tag={standin(name)}", str(context)]
            made = containers.call(*command, limit_s=BUILD_LIMIT_S)
            assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]


def ours(containers: Containers, image: str, tag: str) -> None:
    """Builds one image of docker/Dockerfile with scripts/images.sh, as operators do."""
    variables = {"BUILDER": "buildah", "BASE_IMAGE": BASE, "IMAGES": PREFIX, "TAG": tag}
    command = ["scripts/images.sh", image, "--", *containers.pip_options()]
    made = containers.call(*command, limit_s=BUILD_LIMIT_S, **variables)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]


def next_version(containers: Containers, image: str, tag: str) -> None:
    """One of our images once more, with another tag and another id: it has one more label."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(f"FROM {PREFIX}/{image}:{TAG}\nLABEL tidegate.drill={tag}\n")
        command = ["buildah", "build", "--isolation=chroot", "--format=docker", f"--tag={PREFIX}/{image}:{tag}", folder]
        made = containers.call(*command)
    assert made.returncode == 0, made.stdout + made.stderr


def standin(name: str) -> str:
    return f"localhost/standin/{name}"
