"""When a request that a worker did not finish goes to another one."""

from dataclasses import dataclass, field

from services.gateway.generation.progress import Progress
from services.shared.errors import EngineFailed, Overloaded, TidegateError
from tidegate.router.v1 import router_pb2

# Failures in a row in which nothing was gained.
MAX_FAILURES = 3
MAX_HANDOVERS = 100
MAX_SILENT = 10


class WorkerFailed(Exception):
    """The worker is at fault or leaving, not the request."""

    def __init__(
        self,
        reason: str,
        *,
        worker_id: str,
        died: bool = False,
        handed_over: bool = False,
        yielded: bool = False,
        silent: bool = False,
        gained: bool = False,
    ) -> None:
        """died: the engine went down with the request in it. handed_over: the worker leaves, or serves something else.
        yielded: the worker is well, the router wants its slot. silent: it was lost without a word since it got the
        request, which may never have reached its engine. gained: the attempt brought tokens."""
        super().__init__(reason)
        self.reason = reason
        self.worker_id = worker_id
        self.died = died
        self.handed_over = handed_over
        self.yielded = yielded
        self.silent = silent
        self.gained = gained


@dataclass(slots=True)
class Retries:
    """What earlier attempts of one request teach the next.

    An attempt that gained tokens clears what those before it are blamed for: a request that kills engines does so
    wherever it stands, and gains nothing.
    """

    attempt: int = 1
    failures: int = 0
    handovers: int = 0
    silent: int = 0
    excluded: list[str] = field(default_factory=list)
    engine_deaths: int = 0

    def after(self, failure: WorkerFailed, progress: Progress) -> None:
        """Moves on to the next attempt. Raises the error for the client when there is none to be had."""
        if progress.begun and not progress.resumable:
            raise EngineFailed(
                "The worker was lost while it was answering, and with these parameters no other can continue exactly. "
                "Please try again.",
                retry_after_s=1.0,
            )
        if failure.gained:
            self.failures, self.silent, self.engine_deaths, self.excluded = 0, 0, 0, []
        given_away = failure.handed_over or failure.yielded
        self.failures += not (given_away or failure.silent)
        self.handovers += given_away
        self.silent += failure.silent
        self.engine_deaths += failure.died
        if self.failures >= MAX_FAILURES or self.silent >= MAX_SILENT or self.handovers >= MAX_HANDOVERS:
            raise self._given_up(failure)
        self.attempt += 1
        if not failure.yielded and failure.worker_id not in self.excluded:
            self.excluded.append(failure.worker_id)

    def _given_up(self, failure: WorkerFailed) -> TidegateError:
        if failure.died or failure.reason == "engine":
            return EngineFailed(f"The request failed on {self.attempt} workers. Please try again.", retry_after_s=1.0)
        return Overloaded(f"{self.attempt} workers could not take the request. Please try again.", retry_after_s=1.0)

    def mark(self, submit: router_pb2.Submit) -> router_pb2.Submit:
        """Tells the router that this is no first attempt: it had its turn, and goes elsewhere."""
        submit.at_head = self.attempt > 1
        submit.excluded_workers.extend(self.excluded)
        submit.engine_deaths = self.engine_deaths
        return submit
