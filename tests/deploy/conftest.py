import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tools() -> dict[str, str]:
    """An environment in which prometheus and promtool are found; skips where they cannot be had."""
    fetched = subprocess.run(["scripts/tools.sh"], capture_output=True, text=True, timeout=120)
    if fetched.returncode:
        pytest.skip(fetched.stderr.strip())
    return {**os.environ, "PATH": f"{Path('.tools/bin').absolute()}:{os.environ['PATH']}"}
