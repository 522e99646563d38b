"""When a request that a worker did not finish goes to another one."""

from dataclasses import dataclass, field

from services.shared.errors import EngineFailed, Overloaded, TidegateError
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

MAX_ATTEMPTS = 3


class WorkerFailed(Exception):
    """The worker is at fault or leaving, not the request."""

    def __init__(self, reason: str, *, worker_id: str, died: bool = False, yielded: bool = False) -> None:
        """died: the engine went down with the request in it. yielded: the worker is well, the router wants its slot."""
        super().__init__(reason)
        self.reason = reason
        self.worker_id = worker_id
        self.died = died
        self.yielded = yielded

    @classmethod
    def by(cls, failure: worker_pb2.Failure, worker_id: str) -> "WorkerFailed":
        reason = worker_pb2.FailureKind.Name(failure.kind).removeprefix("FAILURE_KIND_").lower()
        return cls(reason, worker_id=worker_id)


@dataclass(slots=True)
class Retries:
    """What earlier attempts of one request teach the next."""

    attempt: int = 1
    excluded: list[str] = field(default_factory=list)
    engine_deaths: int = 0

    def after(self, failure: WorkerFailed, *, delivered: bool) -> None:
        """Moves on to the next attempt. Raises the error for the client when there is none to be had.

        delivered: the client has tokens of this attempt already; only a resumed attempt could continue it.
        """
        if delivered:
            raise EngineFailed("The worker was lost while it was answering. Please try again.", retry_after_s=1.0)
        if self.attempt >= MAX_ATTEMPTS:
            raise self._given_up(failure)
        self.attempt += 1
        self.engine_deaths += failure.died
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
