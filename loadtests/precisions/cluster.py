"""A local cluster for one model at a time, started and stopped with the command that people use."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from loadtests.load import CannotRun
from loadtests.target import Target, access
from services.shared.settings import WrongSettings

COMMAND = (sys.executable, "-m", "services.cli")
LIMIT_S = 3600.0
"""For one command: the import of a large model, or the start of its engine on a busy machine."""
WRONG_USE = 2
"""Exit status of a wrong option or configuration."""
REASON_CHARACTERS = 400
_ENGINE_ERROR = re.compile(r"^\(EngineCore[^)]*\) ERROR [^\]]*\] ([\w.]+(?:Error|Exception): .+)$", re.MULTILINE)
"""A line as vLLM prints it, with the time and the place in its code."""
ENGINE = "VLLM::"
"""How the names of vLLM's processes begin."""


class DoesNotRun(Exception):
    """The model cannot be served on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A cluster in a folder of its own. The models that it has imported stay there between its starts."""

    folder: Path

    @property
    def data_dir(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    async def import_models(self, sources: Iterable[tuple[str, str]]) -> None:
        """Imports models by name and source. Golden prompts are left out: nothing is swapped here.

        Raises:
            CannotRun: An import failed.
        """
        async with self.running("pools: [{name: none, model: simulated, engine: {kind: simulated}}]\n"):
            for name, source in sources:
                await self._checked("models", "import", source, "--name", name, "--no-golden")

    @asynccontextmanager
    async def running(self, config: str) -> AsyncIterator[Target]:
        """Starts the cluster with a configuration, and stops it at the end.

        Raises:
            DoesNotRun: It did not start.
            WrongSettings: The configuration is wrong.
        """
        file = self.folder / "tidegate.yaml"
        file.write_text(config)
        for log in self._worker_logs():
            log.unlink()
        try:
            status, said = await self._run("up", "--detach", "--config", str(file))
            if status == WRONG_USE:
                raise WrongSettings(said)
            if status:
                raise DoesNotRun(engine_error(_text(self._worker_logs())) or reason(said))
            yield access(None, None, self.data_dir / "local.env")
        finally:
            await self._run("down")

    async def peak_bytes(self) -> int:
        """The most main memory that the engine's processes have taken so far, added up.

        Raises:
            CannotRun: There is no such process.
        """
        document = orjson.loads(await self._checked("status", "--json"))
        workers = [
            entry["pid"] for entry in document["processes"] if entry["name"].startswith("worker") and entry["pid"]
        ]
        family = [child for pid in workers for child in psutil.Process(pid).children(recursive=True)]
        engines = [process.pid for process in family if process.name().startswith(ENGINE)]
        if not engines:
            raise CannotRun(f"no process of a worker is called {ENGINE}*: its memory cannot be measured")
        return sum(peak_rss(_proc_status(pid)) for pid in engines)

    def _worker_logs(self) -> list[Path]:
        return sorted((self.data_dir / "logs").glob("worker*.log"))

    async def _checked(self, *arguments: str) -> str:
        status, said = await self._run(*arguments)
        if status:
            raise CannotRun(f"`tidegate {' '.join(arguments)}` failed: {reason(said)}")
        return said

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """Exit status, and standard output; after a failure standard error."""
        pipe: Any = asyncio.subprocess.PIPE
        command = (*COMMAND, *arguments, "--data-dir", str(self.data_dir))
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(LIMIT_S):
                output, errors = await process.communicate()
        except TimeoutError:
            process.terminate()
            await process.wait()
            return 1, f"`tidegate {arguments[0]}` did not end within {LIMIT_S:g} s"
        status = process.returncode or 0
        return status, (errors if status else output).decode(errors="replace")


def engine_error(log: str) -> str | None:
    """The last exception that ended vLLM's engine process, as a worker's log has it; None when there is none."""
    found = _ENGINE_ERROR.findall(log)
    return found[-1][:REASON_CHARACTERS] if found else None


def _text(logs: Iterable[Path]) -> str:
    return "".join(log.read_text(errors="replace") for log in logs)


def _proc_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def peak_rss(status: str) -> int:
    """Bytes, of /proc/PID/status: VmHWM, the largest resident size that the process has had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if not found:
        raise CannotRun("/proc/PID/status does not tell the largest resident size (VmHWM)")
    return int(found[1]) * 1024


def reason(said: str) -> str:
    """The end of what a command said, in one line."""
    return " ".join(said.split())[-REASON_CHARACTERS:] or "it said nothing"
