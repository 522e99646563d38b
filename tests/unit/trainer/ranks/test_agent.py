"""Which failure the others follow from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from trainer.ranks.agent import told
from trainer.ranks.events import Failed, parse


def failure(folder: Path, rank: int, exitcode: int, message: str = "", timestamp: int = 0) -> ProcessFailure:
    file = folder / f"{rank}.json"
    if message:
        content = {"message": {"message": message, "extraInfo": {"timestamp": str(timestamp), "py_callstack": ""}}}
        file.write_text(json.dumps(content))
    return ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=exitcode, error_file=str(file))


LOST = (1, "RuntimeError: Connection closed by peer", 5)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({0: LOST, 1: (-9,)}, (1, None, "SIGKILL", -9)),
        ({0: (-15,), 1: (-9,)}, (1, None, "SIGKILL", -9)),
        ({0: (-15,), 1: (1, "Unfit: batch = 3: no", 5)}, (1, "Unfit", None, 1)),
        ({0: (1, "Diverged: nan", 4), 1: LOST}, (0, "Diverged", None, 1)),
        ({0: (3,)}, (0, None, None, 3)),
    ],
)
def test_the_first_cause_is_told(
    tmp_path: Path, ends: dict[int, tuple[int]], expected: tuple[int, str | None, str | None, int]
) -> None:
    found = told({rank: failure(tmp_path, rank, *end) for rank, end in ends.items()})
    assert (found.rank, found.kind, found.signal, found.status) == expected


def test_the_reason_is_what_the_error_said(tmp_path: Path) -> None:
    assert told({0: failure(tmp_path, 0, 1, "Unfit: batch = 3: set 4", 1)}).reason == "batch = 3: set 4"


DYING = """
import os, signal, sys, time
print(os.getpid(), flush=True)
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
"""One process dies, the other one would go on."""


def test_when_one_process_dies_the_others_end_and_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    reading, writing = os.pipe()  # the lifeline
    run = subprocess.run(
        [sys.executable, "-m", "trainer.ranks.agent", "task.json", "2", "dying"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        stdin=reading,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(reading)
    os.close(writing)
    *processes, last = run.stdout.splitlines()
    failed = parse(last.encode())
    assert isinstance(failed, Failed)
    assert (failed.rank, failed.signal, run.returncode) == (1, "SIGKILL", 1)
    assert not [process for process in processes if is_alive(int(process))]


def is_alive(process: int) -> bool:
    """A process that has ended stays listed until somebody asks for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
