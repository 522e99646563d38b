"""One leased job from its start to its end: a process runs it, heartbeats keep the lease, and its end is noted."""

import asyncio
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from services.shared.clock import Clock
from services.shared.lifecycle import unbroken
from trainer.jobs.events import MAX_LINE_BYTES, Event, Failed, Phase, Step, Succeeded, parse
from trainer.jobs.job import Failure, Lease, Order, Progress
from trainer.jobs.queue import JobQueue

log = logging.getLogger(__name__)

BEATS_A_LEASE = 4
# Only needed while a run lasts; the curve, its plot and an adapter stay.
SCAFFOLD = ("checkpoints", "merged")


class Runner:
    """Runs one job at a time. `seen` is told of its progress; `argv` starts the process that makes it."""

    def __init__(
        self, queue: JobQueue, work: Path, clock: Clock, seen: Callable[[Progress], None], argv: tuple[str, ...] = ()
    ) -> None:
        self._queue, self._work, self._clock, self._seen = queue, work, clock, seen
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
        return await asyncio.to_thread(self._note, lease, making, order)

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
                self._seen(making.progress)
                try:
                    order = await asyncio.to_thread(self._queue.heartbeat, lease, making.progress)
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

    def _note(self, lease: Lease, making: "_Making", order: Order) -> str:
        if order == "lost":
            return "lost"
        if isinstance(making.end, Succeeded):
            noted, outcome = self._queue.succeed(lease, making.end.published), "succeeded"
        elif order == "cancel":
            noted, outcome = self._queue.cancelled(lease), "cancelled"
        else:
            noted, outcome = self._queue.fail(lease, making.failure()), "failed"
        if self._queue.get(lease.job.id).has_ended:
            self._tidy(lease)
        return outcome if noted else "lost"

    def _tidy(self, lease: Lease) -> None:
        for name in SCAFFOLD:
            shutil.rmtree(self._work / lease.job.id / "run" / name, ignore_errors=True)


class _Making:
    """The process, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.progress = Progress()
        self.end: Succeeded | Failed | None = None

    async def read(self) -> None:
        """Until the process has closed its output and ended."""
        assert self._process.stdout is not None  # noqa: S101
        async for line in self._process.stdout:
            self._hear(parse(line))
        await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def failure(self) -> Failure:
        if isinstance(self.end, Failed):
            return Failure(self.end.reason, self.end.again)
        return Failure(
            f"the process that trained ended with status {self._process.returncode}; see the log", again=True
        )

    def _hear(self, event: Event) -> None:
        now = self.progress
        if isinstance(event, Phase):
            self.progress = Progress(now.step, now.steps, now.loss, event.name)
        elif isinstance(event, Step):
            self.progress = Progress(event.done, event.total, event.loss, now.phase)
        else:
            self.end = event
