"""Faults of a worker. `inject` returns when the worker can become ready again."""

import os
import signal
import time
from abc import ABC, abstractmethod

from tests.robustness.fault_injector import FaultInjector

FROZEN_S = 8.0
DRAIN_S = 1.0


class WorkerFault(ABC):
    """gap_s: the longest pause that 99 of 100 streams may have."""

    name: str
    gap_s: float

    def __init__(self, injector: FaultInjector) -> None:
        self.injector = injector

    @abstractmethod
    def inject(self, worker: str) -> None:
        """Blocks as long as the fault lasts."""


class Killed(WorkerFault):
    """`kill -9`, and an immediate new start."""

    name, gap_s = "killed", 2.0

    def inject(self, worker: str) -> None:
        self.injector.kill(worker)
        self.injector.start(worker)


class Frozen(WorkerFault):
    """Stopped for longer than its lease, then continued: what it still sends must reach no client."""

    name, gap_s = "frozen", 10.0

    def inject(self, worker: str) -> None:
        pid = self.injector.processes[worker].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)


class Drained(WorkerFault):
    """SIGTERM: requests that do not end within a second continue on other workers. Then a new start."""

    name, gap_s = "drained", 2.0

    def inject(self, worker: str) -> None:
        self.injector.stop(worker)
        self.injector.processes[worker].environment["TIDEGATE_DRAIN_S"] = str(DRAIN_S)
        self.injector.start(worker)
