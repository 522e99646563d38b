"""Learns a task by several processes, and tells a watcher how it goes."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trainer.ranks.events import Failed, parse, pass_on
from trainer.ranks.failures import RankDied, raised
from trainer.watcher import Watcher

AGENT = (sys.executable, "-P", "-m", "trainer.ranks.agent")
END_LIMIT_S = 30.0
"""Seconds that all processes have to end, after the first of them failed or the run was stopped."""


def learn(task: Path, count: int, watcher: Watcher, *, agent: Sequence[str] = AGENT) -> None:
    """Blocks until the processes have learnt the task.

    Args:
        task: File of the run.
        count: Of processes.
        watcher: Is told how it goes.
        agent: Command that starts them.

    Raises:
        RankDied: One ended; the message says which and why.
        Unfit, WrongData, BrokenSeal, Diverged: As one process would.
    """
    # Standard input is a lifeline: the processes end when this one does.
    process = subprocess.Popen(  # noqa: S603
        [*agent, str(task), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        failed = _heard(process, watcher)
        process.wait(END_LIMIT_S)
    finally:
        _end(process)
    if failed is not None:
        raise raised(failed, count)
    if process.returncode:
        raise RankDied(f"the processes that learn ended with status {process.returncode}; see the log")


def _heard(process: "subprocess.Popen[bytes]", watcher: Watcher) -> Failed | None:
    """Passes events on until the processes close their output."""
    failed = None
    assert process.stdout is not None  # noqa: S101
    with open(process.stdout.fileno(), "rb", closefd=False) as lines:
        for line in lines:
            event = parse(line)
            if isinstance(event, Failed):
                failed = event
            else:
                pass_on(event, watcher)
    return failed


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The lifeline breaks: the agent and all that it started end at once."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
