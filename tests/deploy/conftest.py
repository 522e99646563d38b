import os
import subprocess
from pathlib import Path

import pytest

from tests.support.prefetch import Prefetch


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
