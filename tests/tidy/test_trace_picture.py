import subprocess
import sys


def test_the_picture_of_the_trace_is_that_of_its_file() -> None:
    run = subprocess.run([sys.executable, "scripts/draw_trace.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
