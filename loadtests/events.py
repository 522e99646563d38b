"""What happens to the local cluster while it is under load: processes are killed, weights are changed."""

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
    """What was to happen did not; the load says nothing about it."""


class _Event(Strict):
    at_s: float = Field(ge=0, description="seconds from the start")


class Kill(_Event):
    """kill -9. The cluster's supervisor starts it again."""

    kill: str = Field(min_length=1, description="name of a process, as `tidegate status` has it")

    async def happen(self, data_dir: Path) -> None:
        found = orjson.loads(await _tidegate("status", "--json", "--data-dir", str(data_dir)))
        pids = {process["name"]: process["pid"] for process in found["processes"]}
        if not (pid := pids.get(self.kill)):
            raise EventFailed(f"kill = {self.kill!r}: the cluster runs {', '.join(sorted(pids))}")
        psutil.Process(pid).send_signal(signal.SIGKILL)


class Command(_Event):
    """A command of `tidegate`, such as one that changes weights."""

    tidegate: list[str] = Field(min_length=1, description="its arguments")

    async def happen(self, data_dir: Path) -> None:
        await _tidegate(*self.tidegate, "--data-dir", str(data_dir))


Event = Annotated[Kill | Command, Field(union_mode="left_to_right")]


async def _tidegate(*arguments: str) -> bytes:
    """What it says. Raises EventFailed."""
    pipe: Any = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=pipe, stderr=pipe)
    said, complained = await process.communicate()
    if process.returncode:
        raise EventFailed(f"`tidegate {' '.join(arguments)}` failed: {complained.decode()[-500:].strip()}")
    return said


async def happen(events: Sequence[Event], data_dir: Path, now: Callable[[], float], stop: asyncio.Event) -> None:
    """One after another, each when it is due or as soon as the one before is over. One that fails stops the load."""
    try:
        for event in sorted(events, key=lambda event: event.at_s):
            await asyncio.sleep(max(0.0, event.at_s - now()))
            await event.happen(data_dir)
    except EventFailed:
        stop.set()
        raise
