"""Libraries are told how to behave before they are imported; later they do not read it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["trainer.imports", "trainer.run", "services.cli.__main__"])
def test_torch_is_not_imported_before_it_is_told_to_share_the_cores(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
