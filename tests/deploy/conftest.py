import os
import subprocess
from pathlib import Path

import pytest

from tests.support.ahead import Ahead


def fetched(ahead: Ahead, tools: str) -> dict[str, str]:
    """An environment with the programs of one set of scripts/tools.sh; skips where they cannot be had."""
    ahead.wait("scripts/tools.sh")
    run = subprocess.run(["scripts/tools.sh", tools], capture_output=True, text=True, timeout=240)
    if run.returncode == 3:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr
    return {**os.environ, "PATH": f"{Path('.tools/bin').absolute()}:{os.environ['PATH']}:/usr/sbin:/sbin"}


@pytest.fixture(scope="session")
def tools(ahead: Ahead) -> dict[str, str]:
    return fetched(ahead, "prometheus")


@pytest.fixture(scope="session")
def container_tools(ahead: Ahead) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.skip("only root can build images here without a registry")
    return fetched(ahead, "containers")
