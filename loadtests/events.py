"""Events during a load test of the local cluster: processes are killed, weights are changed."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
from pydantic import Field

from loadtests.strict import Strict

COMMAND = (sys.executable, "-m", "services.cli")


class EventFailed(Exception):
    """An event could not be carried out, so the run does not show its effect."""


class _Event(Strict):
    at_s: float = Field(ge=0, description="seconds from the start")


class Kill(_Event):
    """Kills a process with kill -9. The cluster's supervisor starts it again."""

    kill: str = Field(min_length=1, description="name of a process in `tidegate status`")

    async def run(self, data_dir: Path) -> None:
        """Kills the process.

        Raises:
            EventFailed: The cluster has no such process.
        """
        found = orjson.loads(await _tidegate("status", "--json", "--data-dir", str(data_dir)))
        pids = {process["name"]: process["pid"] for process in found["processes"]}
        if not (pid := pids.get(self.kill)):
            raise EventFailed(f"kill = {self.kill!r}: the cluster runs {', '.join(sorted(pids))}")
        psutil.Process(pid).send_signal(signal.SIGKILL)


class Command(_Event):
    """Runs a command of `tidegate`, such as one that changes weights."""

    tidegate: list[str] = Field(min_length=1, description="its arguments")

    async def run(self, data_dir: Path) -> None:
        """Runs the command.

        Raises:
            EventFailed: The command failed.
        """
        await _tidegate(*self.tidegate, "--data-dir", str(data_dir))


Event = Annotated[Kill | Command, Field(union_mode="left_to_right")]


async def _tidegate(*arguments: str) -> bytes:
    """The standard output of a command. Raises EventFailed."""
    pipe: Any = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    if process.returncode:
        raise EventFailed(f"`tidegate {' '.join(arguments)}` failed: {errors.decode()[-500:].strip()}")
    return output


async def run_events(events: Sequence[Event], data_dir: Path, now: Callable[[], float], stop: asyncio.Event) -> None:
    """Runs the events one after another, each when it is due or when the previous one has ended.

    An event that fails sets `stop` and is raised.
    """
    try:
        for event in sorted(events, key=lambda event: event.at_s):
            await asyncio.sleep(max(0.0, event.at_s - now()))
            await event.run(data_dir)
    except EventFailed:
        stop.set()
        raise
