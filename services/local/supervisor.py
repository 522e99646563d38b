"""Keeps processes running: starts them, waits for readiness, starts again what dies, stops all in reverse."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from services.cli.errors import WRONG_USE, CommandFailed
from services.local.cluster_record import ProcessRecord, ProcessState
from services.local.process import Child, Launcher, explain, tail
from services.local.process_spec import HttpReady, ProcessSpec
from services.local.readiness import trouble
from services.shared.backoff import backoff
from services.shared.clock import Clock

log = logging.getLogger(__name__)

START_TRIES = 3
STEADY_S = 60.0
"""A process that ran this long starts its delays anew."""
_ASK_EVERY_S = 0.1
_WRONG_CONFIGURATION = 2


class Keeper:
    """Keeps one process running from `start` to `stop`."""

    def __init__(
        self, spec: ProcessSpec, launcher: Launcher, clock: Clock, random: Random, changed: Callable[[], None]
    ) -> None:
        self.spec = spec
        self._launcher, self._clock, self._random, self._changed = launcher, clock, random, changed
        self._child: Child | None = None
        self._state: ProcessState = "starting"
        self._restarts = 0
        self._deaths = 0
        self._delays = self._new_delays()
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping: asyncio.Task[None] | None = None

    def record(self) -> ProcessRecord:
        child = self._child
        return ProcessRecord(
            name=self.spec.name,
            pid=child.pid if child else None,
            created=child.created if child else 0.0,
            address=self.spec.address,
            http_address=self.spec.http_address,
            state=self._state,
            restarts=self._restarts,
            log=str(self._log),
            litter=self.spec.litter,
        )

    async def start(self) -> None:
        """Returns when the process is ready. Raises CommandFailed when it will not be."""
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")
        try:
            await asyncio.wait_for(asyncio.shield(self._first_ready), self.spec.start_limit_s)
        except TimeoutError:
            waiting_for = await trouble(self.spec.ready)
            raise self._failure(f"was not ready in {self.spec.start_limit_s:.0f} s ({waiting_for})") from None

    async def stop(self) -> None:
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._child:
            await self._child.end()
        self._first_ready.cancel()
        self._child = None
        self._set("stopped")

    async def _keep(self) -> None:
        while True:
            began = self._clock.monotonic()
            why = await self._run_once()
            if self._is_hopeless(why):
                return
            if self._clock.monotonic() - began > STEADY_S:
                self._delays = self._new_delays()
            delay = next(self._delays)
            self._say(f"{explain(why)}; starts again in {delay:.1f} s")
            self._restarts += 1
            self._set("waiting")
            await self._clock.sleep(delay)

    async def _run_once(self) -> int:
        """One life of the process; returns its exit status."""
        self._child = child = await self._launcher.start(self.spec)
        self._say(f"started, pid {child.pid}")
        self._set("starting")
        watching = asyncio.create_task(self._watch(child), name=f"watch {self.spec.name}")
        try:
            return await child.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            # What it left running would hold ports and memory that its successor needs.
            if child.is_over:
                child.kill_group()

    async def _watch(self, child: Child) -> None:
        """Asks until the process is ready; bounded by the process's own life."""
        while await trouble(self.spec.ready) or self._is_another(child):
            await self._clock.sleep(_ASK_EVERY_S)
        self._set("running")
        if not self._first_ready.done():
            self._first_ready.set_result(None)

    def _is_another(self, child: Child) -> bool:
        """Whether somebody else answers there, who had the port first; the child will soon die of that."""
        ready = self.spec.ready
        return isinstance(ready, HttpReady) and not child.answers_at(urlsplit(ready.url).port or 80)

    def _is_hopeless(self, status: int) -> bool:
        """Wrong configuration stays wrong; and what never became ready is not tried for ever."""
        self._deaths += 1
        starting = not self._first_ready.done()
        if status != _WRONG_CONFIGURATION and not (starting and self._deaths >= START_TRIES):
            return False
        self._say(f"{explain(status)}; is not started again")
        self._set("failed")
        if starting:
            code = WRONG_USE if status == _WRONG_CONFIGURATION else 1
            self._first_ready.set_exception(self._failure(explain(status), status=code))
        return True

    def _failure(self, what: str, *, status: int = 1) -> CommandFailed:
        return CommandFailed(
            f"{self.spec.name} {what}. The end of its log, {self._log}:\n{tail(self._log)}", status=status
        )

    def _say(self, what: str) -> None:
        """In the supervisor's log and in the process's own, so that each tells the whole story."""
        log.info("%s %s", self.spec.name, what)
        with self._log.open("a") as file:
            file.write(f"--- tidegate: {self.spec.name} {what}\n")

    def _set(self, state: ProcessState) -> None:
        self._state = state
        self._changed()

    @property
    def _log(self) -> Path:
        return self._launcher.folder.log(self.spec.name)

    def _new_delays(self) -> Iterator[float]:
        return backoff(self._random, first_s=0.5, cap_s=30.0)


class Supervisor:
    """Runs stages of processes. Those of one stage start and stop together."""

    def __init__(self, launcher: Launcher, *, clock: Clock, random: Random, changed: Callable[[], None]) -> None:
        self._launcher, self._clock, self._random, self._changed = launcher, clock, random, changed
        self._stages: list[list[Keeper]] = []

    async def start(self, specs: Sequence[ProcessSpec], ready: Callable[[ProcessSpec], None] = lambda _: None) -> None:
        """Starts a stage; returns when all of it is ready. Raises CommandFailed."""
        stage = [Keeper(spec, self._launcher, self._clock, self._random, self._changed) for spec in specs]
        self._stages.append(stage)

        async def one(keeper: Keeper) -> None:
            await keeper.start()
            ready(keeper.spec)

        try:
            async with asyncio.TaskGroup() as together:
                for keeper in stage:
                    together.create_task(one(keeper))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def stop(self) -> None:
        """Last stage first; each process gets the time that its spec gives it."""
        while self._stages:
            await asyncio.gather(*(keeper.stop() for keeper in self._stages[-1]))
            self._stages.pop()

    def records(self) -> tuple[ProcessRecord, ...]:
        return tuple(keeper.record() for stage in self._stages for keeper in stage)
