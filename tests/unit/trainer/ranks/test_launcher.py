"""The process that starts the others: it passes on what they tell, and says which one failed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import Unfit
from trainer.ranks.events import Failed
from trainer.ranks.failures import RankDied, raised
from trainer.ranks.launcher import learn
from trainer.run_events import Note, Phase, Step

TASK = Path("task.json")
FAILED = Failed(rank=1, kind=None, reason="", signal="SIGKILL", status=-9)


class Watcher:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def phase(self, name: str) -> None:
        self.told.append(name)

    def note(self, text: str) -> None:
        self.told.append(text)

    def step(self, done: int, total: int, loss: float) -> None:
        if done == 13:
            raise InterruptedError
        self.told.append((done, total, loss))

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


def agent(*events: Phase | Note | Step | Failed, then: str = "") -> list[str]:
    """A program that tells these events."""
    lines = "".join(event.model_dump_json() + "\n" for event in events)
    return [sys.executable, "-S", "-c", f"import sys; print({lines!r}, end='', flush=True); {then}"]


def test_what_the_processes_tell_reaches_the_watcher() -> None:
    watcher = Watcher()
    told = agent(Phase(name="training"), Note(text="a note"), Step(done=1, total=2, loss=0.5))
    learn(TASK, 2, watcher, agent=told)
    assert watcher.told == ["training", "a note", (1, 2, 0.5)]


@pytest.mark.parametrize(
    ("command", "error", "told"),
    [
        (agent(FAILED, then="sys.exit(1)"), RankDied, r"process 1 of 2 \(rank 1\) was ended by SIGKILL"),
        (agent(then="sys.exit(3)"), RankDied, "ended with status 3"),
        (agent(Failed(rank=0, kind="Unfit", reason="no", signal=None, status=1)), Unfit, "^no$"),
    ],
)
def test_the_error_is_that_of_the_process_that_failed(command: list[str], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        learn(TASK, 2, Watcher(), agent=command)


def test_a_run_that_is_stopped_ends_what_it_started() -> None:
    """The program ends when its standard input does: else this test would wait for it."""
    with pytest.raises(InterruptedError):
        learn(TASK, 2, Watcher(), agent=agent(Step(done=13, total=20, loss=1.0), then="sys.stdin.read()"))


def test_an_error_without_a_meaning_of_its_own_is_told_with_its_name() -> None:
    failed = Failed(rank=2, kind="RuntimeError", reason="no memory", signal=None, status=1)
    assert "process 2 of 4 (rank 2) failed: RuntimeError: no memory" in str(raised(failed, 4))
