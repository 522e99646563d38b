"""What happens to a worker. `strike` returns when the worker that takes its place may be waited for."""

import os
import signal
import time
from abc import ABC, abstractmethod

import psutil

from tests.robustness.router.crew import Crew

FROZEN_S = 8.0
DRAIN_S = 1.0
_END_S = 45.0


class WorkerFault(ABC):
    """gap_s: how long 99 of 100 streams may stand still at most."""

    name: str
    gap_s: float

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    @abstractmethod
    def strike(self, worker: str) -> None:
        """Blocks for as long as it lasts."""


class Killed(WorkerFault):
    """kill -9, and started again at once."""

    name, gap_s = "killed", 2.0

    def strike(self, worker: str) -> None:
        self.crew.kill(worker)
        self.crew.start(worker)


class Frozen(WorkerFault):
    """Stopped for longer than its lease, then let go on: what it still sends must reach nobody."""

    name, gap_s = "frozen", 10.0

    def strike(self, worker: str) -> None:
        pid = self.crew.members[worker].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)


class Drained(WorkerFault):
    """Told to leave: what it does not finish in a second goes to others. Then started again."""

    name, gap_s = "drained", 2.0

    def strike(self, worker: str) -> None:
        member = self.crew.members[worker]
        os.kill(member.pid, signal.SIGTERM)
        if member.ours:
            assert member.ours.wait(_END_S) == 0
        else:
            _wait_for_end(member.pid)
        member.environment["TIDEGATE_DRAIN_S"] = str(DRAIN_S)
        self.crew.start(worker)


def _wait_for_end(pid: int) -> None:
    """A child of the resting supervisor stays a zombie."""
    deadline = time.monotonic() + _END_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} did not leave"
        time.sleep(0.02)
