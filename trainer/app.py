"""A trainer wired together: probes and metrics over HTTP, and one loop that takes jobs from the queue and runs them."""

import asyncio
import logging
import os
import platform

from sqlalchemy.exc import SQLAlchemyError

from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks, unbroken
from services.shared.settings import WrongSettings, split
from services.shared.telemetry import admin_app
from trainer.jobs.database import engine_of, migrate
from trainer.jobs.job import Lease
from trainer.jobs.queue import JobQueue, Terms
from trainer.jobs.runner import Runner
from trainer.metrics import Metrics
from trainer.settings import TrainerSettings

log = logging.getLogger(__name__)

AWAY = "the database does not answer"


class TrainerApp:
    """Light while idle: nothing here imports torch; each job runs in a process of its own."""

    def __init__(self, settings: TrainerSettings, *, clock: Clock | None = None, argv: tuple[str, ...] = ()) -> None:
        """`argv` starts the process that runs a job. Raises WrongSettings."""
        settings.registrar()  # a wrong key is told now, not when the first job has been trained
        self._settings, self._clock = settings, clock or SystemClock()
        self._owner = settings.trainer_id or f"{platform.node()}-{os.getpid()}"
        self._metrics = Metrics(settings.peak_tflops)
        self._engine, self._is_migrated = engine_of(settings.database_url), False
        self._queue = JobQueue(self._engine, self._clock, Terms(settings.lease_s, settings.max_attempts))
        self._runner = Runner(
            self._queue, settings.work_dir, self._clock, self._metrics.progress, kept=settings.kept_jobs, argv=argv
        )
        self._http: HttpServer | None = None
        self._tasks = Tasks()
        self._loop: asyncio.Task[None] | None = None
        self._trouble: str | None = "starting"
        self.http_address = ""

    async def start(self) -> None:
        """Raises WrongSettings when the address is taken."""
        admin = admin_app(self.live, lambda: self._trouble, self._metrics.registry)
        self._http = HttpServer(admin, *split(self._settings.http_listen))
        try:
            self.http_address = await self._http.start()
        except OSError as error:
            raise WrongSettings(f"TIDEGATE_HTTP_LISTEN = {self._settings.http_listen!r}: {error}") from None
        self._loop = self._tasks.start(self._work(), "jobs")

    def live(self) -> str | None:
        """What is wrong with the process, or None."""
        return "the loop that takes jobs has ended" if self._loop and self._loop.done() else None

    async def stop(self) -> None:
        """A job that runs goes back to the queue; whoever takes it next resumes from its checkpoint."""
        await self._tasks.stop()
        if self._http:
            await self._http.stop()
        self._engine.dispose()

    async def _work(self) -> None:
        while True:
            try:
                took_one = await self._take_one()
                self._trouble = None
            except SQLAlchemyError as error:
                if self._trouble != AWAY:
                    log.warning("the job queue failed: %s", error)
                took_one, self._trouble = False, AWAY
            if not took_one:
                await self._clock.sleep(self._settings.poll_s)

    async def _take_one(self) -> bool:
        if not self._is_migrated:
            await asyncio.to_thread(migrate, self._engine)
            self._is_migrated = True
        self._metrics.queue(await asyncio.to_thread(self._queue.counts))
        lease = await self._lease()
        if lease is None:
            return False
        self._trouble = None
        log.info("job %s: attempt %d", lease.job.id, lease.attempt)
        outcome = await self._runner.run(lease)
        self._metrics.ended(outcome)
        log.info("job %s: %s", lease.job.id, outcome)
        return True

    async def _lease(self) -> Lease | None:
        """A job leased just when this trainer is told to stop goes back at once, not when its lease has run out."""
        leasing = asyncio.create_task(asyncio.to_thread(self._queue.lease, self._owner))
        try:
            return await asyncio.shield(leasing)
        except asyncio.CancelledError:
            await unbroken(self._return(leasing))
            raise

    async def _return(self, leasing: asyncio.Task[Lease | None]) -> None:
        if lease := await leasing:
            await self._runner.give_back(lease)
