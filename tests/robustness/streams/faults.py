"""What happens to a worker. `strike` returns when the worker that takes its place may be waited for."""

import os
import signal
import time
from abc import ABC, abstractmethod

from tests.robustness.fault_injector import FaultInjector

FROZEN_S = 8.0
DRAIN_S = 1.0


class WorkerFault(ABC):
    """gap_s: how long 99 of 100 streams may stand still at most."""

    name: str
    gap_s: float

    def __init__(self, crew: FaultInjector) -> None:
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
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)


class Drained(WorkerFault):
    """Told to leave: what it does not finish in a second goes to others. Then started again."""

    name, gap_s = "drained", 2.0

    def strike(self, worker: str) -> None:
        self.crew.stop(worker)
        self.crew.members[worker].environment["TIDEGATE_DRAIN_S"] = str(DRAIN_S)
        self.crew.start(worker)
