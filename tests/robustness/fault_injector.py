"""The fault injector: kills, stops and starts the processes of a running cluster, without a supervisor's delays."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from services.local import cluster_record
from services.local.data_folder import DataFolder
from tests.support.cluster import RunningCluster
from tests.support.processes import is_gone

_END_SECONDS = 10.0
_LEAVE_SECONDS = 45.0
_START_SECONDS = 60.0


@dataclass(slots=True)
class ManagedProcess:
    """How a process is run, and the one that runs now. child: set where the injector started it."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    log: Path
    address: str
    pid: int | None = None
    child: subprocess.Popen[bytes] | None = None


@dataclass(slots=True)
class FaultInjector:
    """processes: by name, as `tidegate status` names them."""

    processes: dict[str, ManagedProcess] = field(default_factory=dict)

    def named(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""
        return sorted(name for name in self.processes if name.startswith(prefix))

    def kill(self, name: str) -> None:
        """`kill -9`. Returns when the process has ended."""
        process = self.processes[name]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        if process.child:
            process.child.wait()
        _wait_for_end(process.pid, _END_SECONDS)

    def start(self, name: str) -> None:
        """Starts a process again, the way it was started before. Does not wait until it serves."""
        process = self.processes[name]
        with process.log.open("ab") as log:
            # A process group of its own, as under the supervisor.
            process.child = subprocess.Popen(
                process.argv,
                env=process.environment,
                cwd=process.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        process.pid = process.child.pid

    def add(self, name: str, like: str, address: str, environment: dict[str, str]) -> None:
        """Starts one more process like another one, with some variables of its environment changed."""
        model = self.processes[like]
        log = model.log.with_name(f"{name}.log")
        self.processes[name] = ManagedProcess(model.argv, model.environment | environment, model.folder, log, address)
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM. Returns when the process has ended, and asserts that it ended without an error."""
        process = self.processes[name]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        if process.child:
            assert process.child.wait(_LEAVE_SECONDS) == 0
        else:
            _wait_for_end(process.pid, _LEAVE_SECONDS)

    def wait_until_up(self, names: list[str], *, at_least: int) -> list[str]:
        """Waits until `at_least` of these processes accept connections, and returns which ones do."""
        deadline = time.monotonic() + _START_SECONDS
        while len(up := [name for name in names if _listens(self.processes[name].address)]) < at_least:
            assert time.monotonic() < deadline, f"fewer than {at_least} of {names} came up"
            time.sleep(0.05)
        return up

    def close(self) -> None:
        """Stops the processes that the injector has started, in good order, so that none leaves a child behind."""
        children = [
            process.child for process in self.processes.values() if process.child and process.child.poll() is None
        ]
        for child in children:
            child.terminate()
        for child in children:
            child.wait(_LEAVE_SECONDS)


@contextmanager
def fault_injector(cluster: RunningCluster) -> Iterator[FaultInjector]:
    """Takes the cluster's processes over. Its supervisor is paused (SIGSTOP), so that it restarts none of them."""
    folder = DataFolder(cluster.folder / ".tidegate")
    record = cluster.record
    injector = FaultInjector({process.name: _managed(process, folder) for process in record.processes})
    os.kill(record.supervisor_pid, signal.SIGSTOP)
    try:
        yield injector
    finally:
        injector.close()
        os.kill(record.supervisor_pid, signal.SIGCONT)


def _managed(process: cluster_record.ProcessRecord, folder: DataFolder) -> ManagedProcess:
    assert process.pid is not None
    running = psutil.Process(process.pid)
    # Redis overwrites its arguments with its address.
    argv = [running.exe(), str(folder.redis / "redis.conf")] if process.name == "redis" else running.cmdline()
    return ManagedProcess(argv, running.environ(), running.cwd(), Path(process.log), process.address, process.pid)


def _wait_for_end(pid: int, limit_s: float) -> None:
    """A process that the paused supervisor has not reaped yet counts as ended: it holds no port any more."""
    deadline = time.monotonic() + limit_s
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    while not is_gone(process):
        assert time.monotonic() < deadline, f"process {pid} has not ended after {limit_s} s"
        time.sleep(0.01)


def _listens(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        return False
    return True
