"""One leased job from its start to its end: a process runs it, heartbeats keep the lease, and its end is noted."""

import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from services.shared.clock import Clock
from services.shared.lifecycle import unbroken
from trainer.jobs import folders
from trainer.jobs.events import MAX_LINE_BYTES, Event, Failed, Succeeded, parse
from trainer.jobs.job import Failure, Lease, Order, Progress
from trainer.jobs.queue import JobQueue, UnknownJob
from trainer.run_events import Note, Phase, Step
from trainer.step_figures import read as read_figures

log = logging.getLogger(__name__)

BEATS_A_LEASE = 4
NOTE_TRIES = 5
NOTE_PAUSE_S = 2.0
MAX_WAITING = 1000
"""Lines of a log that wait for the next heartbeat; more are left out."""
STEP_LINES = 500
"""Steps of a run that its log has, evenly."""


class Runner:
    """Runs one job at a time. `seen` is told of its progress; `argv` starts the process that makes it.

    kept: folders of jobs that have ended, for people to look at.
    """

    def __init__(
        self,
        queue: JobQueue,
        work: Path,
        clock: Clock,
        seen: Callable[[Progress], None],
        *,
        kept: int = 20,
        argv: tuple[str, ...] = (),
    ) -> None:
        self._queue, self._work, self._clock, self._seen, self._kept = queue, work, clock, seen, kept
        self._argv = argv or (sys.executable, "-P", "-m", "trainer.jobs.child")

    async def run(self, lease: Lease) -> str:
        """Returns what became of it. A cancelled call kills the process and gives the job back."""
        making: _Making | None = None
        try:
            making = _Making(await self._start(lease))
            order = await self._watch(lease, making)
            await making.kill()
        except asyncio.CancelledError:
            await unbroken(self.give_back(lease, making))
            raise
        except OSError as error:  # no room on the disk, no more processes
            failure = Failure(f"this trainer could not start it: {error}", again=True)
            return await self._noted(lambda: self._fail(lease, failure))
        return await self._noted(partial(self._note, lease, making, order))

    async def give_back(self, lease: Lease, making: "_Making | None" = None) -> None:
        """For a trainer that leaves: the next one goes on with the job."""
        if making:
            await making.kill()
        await asyncio.to_thread(self._queue.give_back, lease)

    async def _start(self, lease: Lease) -> asyncio.subprocess.Process:
        folder = self._work / lease.job.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(lease.job.recipe)
        (folder / "data.jsonl").write_text(lease.data)
        return await asyncio.create_subprocess_exec(
            *self._argv,
            str(folder),
            lease.job.id,
            str(self._work / "base"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )

    async def _watch(self, lease: Lease, making: "_Making") -> Order:
        """Until the process has ended or must: the trainer lost the lease, or someone cancelled the job."""
        reading = asyncio.create_task(making.read())
        renewed = self._clock.monotonic()
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=self._queue.terms.lease_s / BEATS_A_LEASE)
                figures = read_figures(self._work / lease.job.id / "run")
                self._seen(replace(making.progress, figures=figures))
                try:
                    lines = tuple(making.lines)
                    order = await asyncio.to_thread(self._queue.heartbeat, lease, making.progress, lines)
                    del making.lines[: len(lines)]
                except SQLAlchemyError as error:
                    log.warning("job %s: no heartbeat: %s", lease.job.id, error)
                    order = "lost" if self._clock.monotonic() - renewed > self._queue.terms.lease_s else "go on"
                else:
                    renewed = self._clock.monotonic()
                if order != "go on":
                    return order
            return "go on"
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    async def _noted(self, note: Callable[[], str]) -> str:
        """A database that is away for a moment must not cost a job what it has achieved. Raises SQLAlchemyError."""
        for _ in range(NOTE_TRIES - 1):
            try:
                return await asyncio.to_thread(note)
            except SQLAlchemyError as error:
                log.warning("the end of a job could not be noted: %s", error)
            await self._clock.sleep(NOTE_PAUSE_S)
        return await asyncio.to_thread(note)

    def _note(self, lease: Lease, making: "_Making", order: Order) -> str:
        if order == "lost":
            return "lost"
        lines = [*making.lines, making.end_line(order)]
        if self._queue.heartbeat(lease, making.progress, lines) == "lost":
            return "lost"
        making.lines.clear()
        if isinstance(making.end, Succeeded):
            noted, outcome = self._queue.succeed(lease, making.end.published), "succeeded"
        elif order == "cancel":
            noted, outcome = self._queue.cancelled(lease), "cancelled"
        else:
            return self._fail(lease, making.failure())
        folders.sweep(self._work, self._kept, self._has_ended)
        return outcome if noted else "lost"

    def _fail(self, lease: Lease, failure: Failure) -> str:
        noted = self._queue.fail(lease, failure)
        folders.sweep(self._work, self._kept, self._has_ended)
        return "failed" if noted else "lost"

    def _has_ended(self, name: str) -> bool:
        try:
            return self._queue.get(name).has_ended
        except UnknownJob:  # of a database that is no more
            return True


class _Making:
    """The process, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.progress = Progress()
        self.end: Succeeded | Failed | None = None
        self.lines: list[str] = []

    async def read(self) -> None:
        """Until the process has closed its output and ended."""
        assert self._process.stdout is not None  # noqa: S101
        try:
            async for line in self._process.stdout:
                self._hear(parse(line))
        except ValueError as error:  # no event, or a line without an end
            self.end = Failed(reason=f"the process that trained said what is no event: {error}"[:500], again=False)
            return
        await self._process.wait()

    async def kill(self) -> None:
        """Reads what is left: asyncio does not see the end of a process whose output waits to be read."""
        assert self._process.stdout is not None  # noqa: S101
        if self._process.returncode is None:
            self._process.kill()
        while await self._process.stdout.read(MAX_LINE_BYTES):
            pass
        await self._process.wait()

    def end_line(self, order: Order) -> str:
        """What the log says of the end."""
        if isinstance(self.end, Succeeded):
            return f"published {', '.join(self.end.published) or 'nothing'}"
        return "cancelled" if order == "cancel" else f"failed: {self.failure().reason}"

    def failure(self) -> Failure:
        if isinstance(self.end, Failed):
            return Failure(self.end.reason, self.end.again)
        return Failure(
            f"the process that trained ended with status {self._process.returncode}; see the log", again=True
        )

    def _hear(self, event: Event) -> None:
        now = self.progress
        if len(self.lines) < MAX_WAITING and (line := _line(event)):
            self.lines.append(line)
        if isinstance(event, Phase):
            self.progress = Progress(now.step, now.steps, now.loss, event.name)
        elif isinstance(event, Step):
            self.progress = Progress(event.done, event.total, event.loss, now.phase)
        elif isinstance(event, Succeeded | Failed):
            self.end = event


def _line(event: Event) -> str | None:
    """What the log says of an event that is no end; of steps, about STEP_LINES in a run."""
    if isinstance(event, Phase):
        return event.name
    if isinstance(event, Note):
        return f"note: {event.text}"
    if isinstance(event, Step):
        is_said = event.done % max(event.total // STEP_LINES, 1) == 0 or event.done == event.total
        return f"step {event.done} of {event.total}: loss {event.loss:.4f}" if is_said else None
    return None
