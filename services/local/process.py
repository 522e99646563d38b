"""One run of a program: its own process group, a log file, and an end that leaves none of its descendants."""

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
    """Starts programs for one cluster. `environ` is what each of them inherits."""

    folder: DataFolder
    environ: Mapping[str, str]

    async def start(self, spec: ProcessSpec) -> "Child":
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
    """A started program. Its process id is also that of its group."""

    def __init__(self, process: asyncio.subprocess.Process, spec: ProcessSpec) -> None:
        self._process = process
        self._spec = spec
        self.pid = process.pid
        self.created = _created(process.pid)

    async def wait(self) -> int:
        """Exit status; the negative number of the signal that ended it."""
        return await self._process.wait()

    @property
    def is_over(self) -> bool:
        return self._process.returncode is not None

    def answers_at(self, port: int) -> bool:
        """Whether it is this program that listens there, or a child of it."""
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
        """SIGTERM to the program, which takes care of its own; SIGKILL to the whole group for what is left."""
        if not self.is_over:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._spec.stop_limit_s)
        self.kill_group()
        await self._process.wait()
        self._clear_litter()

    def _clear_litter(self) -> None:
        for path in self._spec.litter:
            Path(path).unlink(missing_ok=True)

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def explain(status: int) -> str:
    """An exit status in words."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or a word that there are none."""
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
    """Unix seconds; with the pid it names a process for good. 0 when it is gone already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
