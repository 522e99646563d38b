"""The processes of a running cluster, killed and started again at once: no supervisor's patience stands in between."""

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
class Member:
    """How a process is run, and the one that runs now."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    log: Path
    address: str
    pid: int | None = None
    ours: subprocess.Popen[bytes] | None = None


@dataclass(slots=True)
class FaultInjector:
    members: dict[str, Member] = field(default_factory=dict)

    def named(self, prefix: str) -> list[str]:
        return sorted(name for name in self.members if name.startswith(prefix))

    def kill(self, name: str) -> None:
        member = self.members[name]
        assert member.pid is not None
        os.kill(member.pid, signal.SIGKILL)
        if member.ours:
            member.ours.wait()
        _wait_for_end(member.pid, _END_SECONDS)

    def start(self, name: str) -> None:
        member = self.members[name]
        with member.log.open("ab") as log:
            # A group of its own, as the supervisor gives it.
            member.ours = subprocess.Popen(
                member.argv,
                env=member.environment,
                cwd=member.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        member.pid = member.ours.pid

    def copy(self, name: str, of: str, address: str, environment: dict[str, str]) -> None:
        """One more process like another one, its environment changed."""
        like = self.members[of]
        log = like.log.with_name(f"{name}.log")
        self.members[name] = Member(like.argv, like.environment | environment, like.folder, log, address)
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM; returns when it has left, and asserts that it did so well."""
        member = self.members[name]
        assert member.pid is not None
        os.kill(member.pid, signal.SIGTERM)
        if member.ours:
            assert member.ours.wait(_LEAVE_SECONDS) == 0
        else:
            _wait_for_end(member.pid, _LEAVE_SECONDS)

    def wait_until_up(self, names: list[str], *, at_least: int) -> list[str]:
        """Those that serve."""
        deadline = time.monotonic() + _START_SECONDS
        while len(up := [name for name in names if _listens(self.members[name].address)]) < at_least:
            assert time.monotonic() < deadline, f"fewer than {at_least} of {names} came up"
            time.sleep(0.05)
        return up

    def leave(self) -> None:
        """Those that it has started end in their own way, so that they leave no child behind."""
        ours = [member.ours for member in self.members.values() if member.ours and member.ours.poll() is None]
        for process in ours:
            process.terminate()
        for process in ours:
            process.wait(_LEAVE_SECONDS)


@contextmanager
def crew(cluster: RunningCluster) -> Iterator[FaultInjector]:
    """Takes the cluster's processes over from its supervisor, which stands still meanwhile."""
    folder = DataFolder(cluster.folder / ".tidegate")
    record = cluster.record
    mine = FaultInjector({process.name: _member(process, folder) for process in record.processes})
    os.kill(record.supervisor_pid, signal.SIGSTOP)
    try:
        yield mine
    finally:
        mine.leave()
        os.kill(record.supervisor_pid, signal.SIGCONT)


def _member(process: cluster_record.ProcessRecord, folder: DataFolder) -> Member:
    assert process.pid is not None
    running = psutil.Process(process.pid)
    # Redis writes its address where its arguments were.
    argv = [running.exe(), str(folder.redis / "redis.conf")] if process.name == "redis" else running.cmdline()
    return Member(argv, running.environ(), running.cwd(), Path(process.log), process.address, process.pid)


def _wait_for_end(pid: int, limit_s: float) -> None:
    """A process that is a zombie of the resting supervisor holds no port any more."""
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
