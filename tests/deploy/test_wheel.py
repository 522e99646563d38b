"""Tidegate's code as the images hold it: one wheel, which needs nothing of the checkout that it was built from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cluster import REPOSITORY

BIN = Path(sys.executable).parent
SETTINGS = {
    "services.gateway": {"TIDEGATE_ROUTERS": "nowhere:8081"},
    "services.router": {},
    "services.worker": {"TIDEGATE_ROUTERS": "nowhere:8081"},
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, as `/opt/code` in the images."""
    built, folder = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("code")
    _run(BIN / "hatchling", "build", "-t", "wheel", "-d", built, cwd=REPOSITORY)
    wheels = list(built.glob("*.whl"))
    assert len(wheels) == 1
    _run(BIN / "uv", "pip", "install", "--no-deps", "--offline", "--target", folder, wheels[0])
    return folder


def test_it_holds_every_file_of_the_packages(code: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "services", "trainer", "loadtests"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    missing = [name for name in listed.stdout.splitlines() if not (code / name).is_file()]
    assert not missing


@pytest.mark.parametrize("module", SETTINGS)
def test_a_service_of_it_names_the_setting_that_is_missing(code: Path, tmp_path: Path, module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(code), str(REPOSITORY), module],
        env={"PATH": os.environ["PATH"], "TIDEGATE_CONFIG": str(REPOSITORY / "tidegate.yaml"), **SETTINGS[module]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2, ended.stderr
    assert "is not set" in ended.stderr


PROGRAM = """
import runpy, sys
_, code, checkout, module = sys.argv
sys.path[:] = [code, *(path for path in sys.path if not path.startswith(checkout) or "site-packages" in path)]
sys.argv[1:] = []
runpy.run_module(module, run_name="__main__")
"""
"""Starts a service from the wheel, though the environment of the tests holds the checkout."""


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
