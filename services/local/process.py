"""One run of a program: it has its own process group and a log file, and its end leaves no descendants behind."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.local import launch
from services.local.data_folder import DataFolder
from services.local.process_spec import ProcessSpec

LOG_LIMIT_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts programs for one cluster. Each program inherits `environ`."""

    folder: DataFolder
    environ: Mapping[str, str]

    async def start(self, spec: ProcessSpec) -> "Child":
        """Starts the program; its output goes to its log file."""
        log = self.folder.log(spec.name)
        _rotate(log)
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *spec.argv),
                env={**self.environ, **spec.env},
                cwd=self.folder.root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        return Child(process, spec)


class Child:
    """A started program. Its process id is also the id of its process group."""

    def __init__(self, process: asyncio.subprocess.Process, spec: ProcessSpec) -> None:
        self._process = process
        self._spec = spec
        self.pid = process.pid
        self.created = _created(process.pid)

    async def wait(self) -> int:
        """Waits for the end. Returns the exit status, or the negative number of the signal that ended the program."""
        return await self._process.wait()

    @property
    def has_ended(self) -> bool:
        """Whether the program itself has ended; descendants may still run."""
        return self._process.returncode is not None

    def listens_on(self, port: int) -> bool:
        """Whether this program, or a descendant of it, listens on the TCP port."""
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            for process in (leader, *leader.children(recursive=True)):
                if any(
                    each.status == psutil.CONN_LISTEN and each.laddr.port == port
                    for each in process.net_connections("tcp")
                ):
                    return True
        return False

    async def end(self) -> None:
        """Ends the program: SIGTERM first, so that it can end its own children; then SIGKILL to the whole group."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._spec.stop_limit_s)
        self.kill_group()
        await self._process.wait()
        self._remove_leftover_files()

    def _remove_leftover_files(self) -> None:
        for path in self._spec.leftover_files:
            Path(path).unlink(missing_ok=True)

    def kill_group(self) -> None:
        """Kills the program and all its descendants."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def explain(status: int) -> str:
    """An exit status in words."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or a note that there are none."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _created(pid: int) -> float:
    """Start time in Unix seconds; pid and start time identify a process. 0 when the process has ended already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
