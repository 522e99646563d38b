"""The queue of training jobs in a SQL database: SQLite or PostgreSQL, shared by any number of trainers.

A job is taken with one UPDATE that repeats the condition it was chosen by, so two trainers never both take it. Whoever
has it renews its lease; what expires is taken up again, at most `max_attempts` times. Times are the trainers' own wall
clocks: a lease must be much longer than these differ. A job's data is dropped when it has succeeded, so the table stays
small; that of the last KEPT_DATA jobs that failed or were cancelled stays, for `retry`.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, case, func, insert, or_, select, text, true, update

from services.shared.clock import Clock
from trainer.jobs import log
from trainer.jobs.job import MAX_DATA_BYTES, Failure, Job, Lease, Order, Progress
from trainer.jobs.log import Line
from trainer.jobs.table import jobs

MAX_QUEUED = 1000
MAX_LISTED = 200
KEPT_DATA = 20
"""Jobs that ended without success whose data is kept."""
RETRY_AFTER_S = 5.0

_UNSUCCESSFUL = jobs.c.state.in_(("failed", "cancelled"))
_SHOWN = [column for column in jobs.c if column.name not in ("data", "not_before", "lease_until")]


class QueueFull(Exception):
    """MAX_QUEUED jobs wait already."""


class CannotRetry(Exception):
    """The job cannot be put into the queue again; the message says why."""


class UnknownJob(Exception):
    """No job has that id."""


@dataclass(frozen=True, slots=True)
class Terms:
    """lease_s: after so long without a heartbeat a job is anybody's again."""

    lease_s: float = 60.0
    max_attempts: int = 3


class JobQueue:
    """Every method is one transaction and may block; raises SQLAlchemyError when the database is unwell."""

    def __init__(self, engine: Engine, clock: Clock, terms: Terms | None = None) -> None:
        self._engine, self._clock, self.terms = engine, clock, terms or Terms()

    def ping(self) -> None:
        """Asks the database for a sign of life."""
        with self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    # ---- for those who want something trained ----

    def submit(self, recipe: str, data: str) -> Job:
        """Raises QueueFull, and ValueError for more than MAX_DATA_BYTES of data."""
        if len(data.encode()) > MAX_DATA_BYTES:
            raise ValueError(f"the data has more than {MAX_DATA_BYTES} bytes")
        now, name = self._clock.wall(), f"job-{secrets.token_hex(8)}"
        row = {"id": name, "state": "queued", "recipe": recipe, "data": data, "submitted": now, "not_before": now}
        with self._engine.begin() as connection:
            waiting = connection.scalar(select(func.count()).where(jobs.c.state == "queued")) or 0
            if waiting >= MAX_QUEUED:
                raise QueueFull(f"{waiting} jobs are waiting already")
            connection.execute(insert(jobs).values(row))
            log.prune(connection, MAX_LISTED)
            kept = select(jobs.c.id).where(_UNSUCCESSFUL).order_by(jobs.c.ended.desc()).limit(KEPT_DATA)
            connection.execute(update(jobs).where(_UNSUCCESSFUL, jobs.c.id.not_in(kept)).values(data=""))
        return self.get(name)

    def log(self, name: str, after: int = 0) -> list[Line]:
        """Lines of a job's log after the line with that number, at most log.MAX_READ. Raises UnknownJob."""
        self.get(name)
        return log.read(self._engine, name, after)

    def get(self, name: str) -> Job:
        """Raises UnknownJob."""
        with self._engine.connect() as connection:
            row = connection.execute(select(*_SHOWN).where(jobs.c.id == name)).one_or_none()
        if row is None:
            raise UnknownJob(name)
        return _job(row)

    def list(self) -> list[Job]:
        """The last MAX_LISTED, newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(*_SHOWN).order_by(jobs.c.submitted.desc()).limit(MAX_LISTED)).all()
        return [_job(row) for row in rows]

    def cancel(self, name: str) -> Job:
        """A waiting job ends at once, a running one when its trainer hears of it. Raises UnknownJob."""
        waits = jobs.c.state == "queued"
        change = {
            "cancelling": True,
            "state": case((waits, "cancelled"), else_=jobs.c.state),
            "ended": case((waits, self._clock.wall()), else_=jobs.c.ended),
        }
        # One statement: between two the job could go from one state to the other, unseen by both.
        open_ = and_(jobs.c.id == name, jobs.c.state.in_(("queued", "running")))
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(open_).values(change))
        return self.get(name)

    def retry(self, name: str) -> Job:
        """Puts a job that failed or was cancelled into the queue again; its run begins anew.

        Raises:
            UnknownJob: There is no such job.
            CannotRetry: It has not ended, it succeeded, or its data is not kept any more.
        """
        job = self.get(name)
        if job.state not in ("failed", "cancelled"):
            raise CannotRetry(f"{name} is {job.state}: only a job that failed or was cancelled is tried again")
        needs_data = isinstance(named := json.loads(job.recipe).get("data"), str) and not named.startswith("s3://")
        change = {"state": "queued", "attempts": 0, "cancelling": False, "owner": None, "ended": None, "error": None}
        there = and_(jobs.c.id == name, _UNSUCCESSFUL, jobs.c.data != "" if needs_data else true())
        with self._engine.begin() as connection:
            again = update(jobs).where(there).values(**change, not_before=self._clock.wall())
            if connection.execute(again).rowcount != 1:
                raise CannotRetry(f"the data of {name} is not kept any more: submit its recipe again")
        return self.get(name)

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)).all()
        return {str(row.state): int(row.jobs) for row in rows}

    # ---- for trainers ----

    def lease(self, owner: str) -> Lease | None:
        """The job that waits longest, now running and this owner's; None when there is none to take."""
        now = self._clock.wall()
        self._bury(now)
        free = self._is_free(now)
        chosen = select(jobs.c.id).where(free).order_by(jobs.c.submitted, jobs.c.id).limit(1)
        taking = (
            update(jobs)
            .where(jobs.c.id == chosen.with_for_update(skip_locked=True).scalar_subquery(), free)
            .values(
                state="running",
                owner=owner,
                lease_until=now + self.terms.lease_s,
                attempts=jobs.c.attempts + 1,
                started=func.coalesce(jobs.c.started, now),
                error=None,
            )
            .returning(*_SHOWN, jobs.c.data)
        )
        with self._engine.begin() as connection:
            row = connection.execute(taking).one_or_none()
        return Lease(_job(row), row.data, row.attempts, owner) if row else None

    def heartbeat(self, lease: Lease, progress: Progress, lines: Sequence[str] = ()) -> Order:
        """Renews the lease, notes the progress, and appends lines to the job's log."""
        values = {"step": progress.step, "steps": progress.steps, "loss": progress.loss, "phase": progress.phase[:200]}
        renewed = self._clock.wall() + self.terms.lease_s
        change = update(jobs).where(_holds(lease)).values(lease_until=renewed, **values).returning(jobs.c.cancelling)
        with self._engine.begin() as connection:
            row = connection.execute(change).one_or_none()
            if row is not None and lines:
                log.add(connection, lease.job.id, lines, self._clock.wall())
        if row is None:
            return "lost"
        return "cancel" if row.cancelling else "go on"

    def succeed(self, lease: Lease, published: tuple[str, ...]) -> bool:
        """False: the lease was lost."""
        return self._end(lease, state="succeeded", published=json.dumps(published), error=None, data="")

    def fail(self, lease: Lease, failure: Failure) -> bool:
        """Queues it again where that may help and tries are left. False: the lease was lost."""
        if failure.again and lease.attempt < self.terms.max_attempts:
            after = self._clock.wall() + RETRY_AFTER_S * lease.attempt
            return self._put_back(lease, error=failure.reason, not_before=after)
        return self._end(lease, state="failed", error=failure.reason)

    def cancelled(self, lease: Lease) -> bool:
        """Notes that a job was cancelled. Returns False if the lease was lost."""
        return self._end(lease, state="cancelled")

    def give_back(self, lease: Lease) -> bool:
        """For a trainer that leaves: the next one goes on, and this was no failed attempt."""
        return self._put_back(lease, attempts=lease.attempt - 1)

    def _put_back(self, lease: Lease, **values: Any) -> bool:
        """One that somebody cancelled meanwhile has ended."""
        state = case((jobs.c.cancelling, "cancelled"), else_="queued")
        ended = case((jobs.c.cancelling, self._clock.wall()), else_=jobs.c.ended)
        return self._change(lease, state=state, ended=ended, owner=None, lease_until=None, **values)

    def _end(self, lease: Lease, **values: Any) -> bool:
        return self._change(lease, **_ended(self._clock.wall()), **values)

    def _change(self, lease: Lease, **values: Any) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(update(jobs).where(_holds(lease)).values(**values)).rowcount == 1

    def _is_free(self, now: float) -> ColumnElement[bool]:
        waiting = and_(jobs.c.state == "queued", jobs.c.not_before <= now)
        return or_(waiting, and_(_expired(now), jobs.c.attempts < self.terms.max_attempts, ~jobs.c.cancelling))

    def _bury(self, now: float) -> None:
        """Ends those whose trainers vanished and that are not to be tried again."""
        lost = and_(_expired(now), jobs.c.attempts >= self.terms.max_attempts)
        reason = f"its trainer vanished; that was attempt {self.terms.max_attempts}, the last"
        unwanted = and_(_expired(now), jobs.c.cancelling)
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(unwanted).values(state="cancelled", **_ended(now)))
            connection.execute(update(jobs).where(lost).values(state="failed", error=reason, **_ended(now)))


def _ended(now: float) -> dict[str, Any]:
    return {"ended": now, "lease_until": None}


def _expired(now: float) -> ColumnElement[bool]:
    return and_(jobs.c.state == "running", jobs.c.lease_until < now)


def _holds(lease: Lease) -> ColumnElement[bool]:
    """The attempt alone would not tell: one that was given back does not count, so the next has its number."""
    held_by = and_(jobs.c.owner == lease.owner, jobs.c.attempts == lease.attempt)
    return and_(jobs.c.id == lease.job.id, jobs.c.state == "running", held_by)


def _job(row: Row[Any]) -> Job:
    facts = {column.name: row._mapping[column.name] for column in _SHOWN}
    return Job(**{**facts, "published": tuple(json.loads(facts["published"]))})
