"""What scripts write from other files is current."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("script", ["draw_trace", "dashboards"])
def test_what_a_script_writes_is_current(script: str) -> None:
    command = [sys.executable, f"scripts/{script}.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
