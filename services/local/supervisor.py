"""Keeps processes running: starts them, waits until they are ready, restarts those that die, stops all in reverse."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from services.local.cluster_record import ProcessRecord, ProcessState
from services.local.errors import WRONG_CONFIGURATION, ClusterError
from services.local.process import Child, Launcher, explain, tail
from services.local.process_spec import HttpProbe, ProcessSpec
from services.local.readiness import not_ready_reason
from services.shared.backoff import backoff
from services.shared.clock import Clock

log = logging.getLogger(__name__)

START_TRIES = 3
STEADY_S = 60.0
"""After a run of this length, the delays between restarts begin again with the shortest."""
_ASK_EVERY_S = 0.1
_ASK_SLOWEST_S = 1.0
_ASK_SHARE = 0.05
"""A pause between two questions is this share of the time since the start, within the two bounds above. A question
costs the supervisor a millisecond or more, and a worker with a real model is asked for minutes."""


class SupervisedProcess:
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
        """What cluster.json says about the process."""
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
            leftover_files=self.spec.leftover_files,
        )

    async def start(self) -> None:
        """Starts the process and returns when it is ready.

        Raises:
            ClusterError: The process did not become ready in time, or it died too often.
        """
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")
        try:
            await asyncio.wait_for(asyncio.shield(self._first_ready), self.spec.start_limit_s)
        except TimeoutError:
            waiting_for = await not_ready_reason(self.spec.ready) or "another process answers at its address"
            raise self._failure(f"was not ready in {self.spec.start_limit_s:.0f} s ({waiting_for})") from None

    async def stop(self) -> None:
        """Ends the process for good."""
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
        """Runs the process once; returns its exit status."""
        self._child = child = await self._launcher.start(self.spec)
        self._say(f"started, pid {child.pid}")
        self._set("starting")
        watching = asyncio.create_task(self._watch(child), name=f"watch {self.spec.name}")
        try:
            return await child.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            # Descendants that still run would hold ports and memory that the next run needs.
            if child.has_ended:
                child.kill_group()

    async def _watch(self, child: Child) -> None:
        """Asks until the process is ready. The caller cancels this when the process ends."""
        began = self._clock.monotonic()
        while await not_ready_reason(self.spec.ready) or self._other_process_answers(child):
            waited = self._clock.monotonic() - began
            await self._clock.sleep(min(max(_ASK_EVERY_S, waited * _ASK_SHARE), _ASK_SLOWEST_S))
        self._set("running")
        if not self._first_ready.done():
            self._first_ready.set_result(None)

    def _other_process_answers(self, child: Child) -> bool:
        """Whether another process had the port first and answers there. The child will soon fail for that reason."""
        ready = self.spec.ready
        return isinstance(ready, HttpProbe) and not child.listens_on(urlsplit(ready.url).port or 80)

    def _is_hopeless(self, status: int) -> bool:
        """Whether a restart would not help: the configuration is wrong, or the process never became ready."""
        self._deaths += 1
        starting = not self._first_ready.done()
        if status != WRONG_CONFIGURATION and not (starting and self._deaths >= START_TRIES):
            return False
        self._say(f"{explain(status)}; is not started again")
        self._set("failed")
        if starting:
            code = WRONG_CONFIGURATION if status == WRONG_CONFIGURATION else 1
            self._first_ready.set_exception(self._failure(explain(status), status=code))
        return True

    def _failure(self, what: str, *, status: int = 1) -> ClusterError:
        return ClusterError(
            f"{self.spec.name} {what}. The end of its log, {self._log}:\n{tail(self._log)}", status=status
        )

    def _say(self, what: str) -> None:
        """Logs to the supervisor's log and to the process's own, so that each is complete."""
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
    """Runs stages of processes. The processes of one stage start and stop together."""

    def __init__(self, launcher: Launcher, *, clock: Clock, random: Random, changed: Callable[[], None]) -> None:
        self._launcher, self._clock, self._random, self._changed = launcher, clock, random, changed
        self._stages: list[list[SupervisedProcess]] = []

    async def start(self, specs: Sequence[ProcessSpec], ready: Callable[[ProcessSpec], None] = lambda _: None) -> None:
        """Starts a stage and returns when all its processes are ready.

        Args:
            specs: The processes of the stage.
            ready: Called for each process when it is ready.

        Raises:
            ClusterError: A process cannot start.
        """
        stage = [SupervisedProcess(spec, self._launcher, self._clock, self._random, self._changed) for spec in specs]
        self._stages.append(stage)

        async def one(keeper: SupervisedProcess) -> None:
            await keeper.start()
            ready(keeper.spec)

        try:
            async with asyncio.TaskGroup() as together:
                for keeper in stage:
                    together.create_task(one(keeper))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def stop(self) -> None:
        """Stops all stages, the last one first. Each process gets the time that its spec says."""
        while self._stages:
            await asyncio.gather(*(keeper.stop() for keeper in self._stages[-1]))
            self._stages.pop()

    def records(self) -> tuple[ProcessRecord, ...]:
        """What cluster.json says about the processes."""
        return tuple(keeper.record() for stage in self._stages for keeper in stage)
