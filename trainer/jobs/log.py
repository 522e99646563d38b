"""The log of jobs in the database: lines for people, of the jobs that are listed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select

from trainer.jobs.table import jobs, log

MAX_LINES = 5000
"""Of one job; a job that says more ends its log with LAST."""
MAX_CHARACTERS = 4000
"""Of one line."""
MAX_READ = 1000
LAST = f"the log has {MAX_LINES} lines: what follows is in the trainer's own log only"


@dataclass(frozen=True, slots=True)
class Line:
    """One line. number: from 1, growing. at: Unix seconds, when it reached the database."""

    number: int
    at: float
    text: str


def add(connection: Connection, job: str, texts: Sequence[str], now: float) -> None:
    """Appends lines to the log of a job, which only its owner may do.

    Args:
        connection: In the transaction that proves that the caller owns the job.
        job: Its id.
        texts: The lines.
        now: Unix seconds.
    """
    last = connection.scalar(select(func.max(log.c.number)).where(log.c.job == job)) or 0
    room = MAX_LINES - last
    kept = [text[:MAX_CHARACTERS] for text in texts[: max(room, 0)]]
    if kept and len(texts) >= room:
        kept[-1] = LAST
    if kept:
        rows = [{"job": job, "number": last + n, "at": now, "text": text} for n, text in enumerate(kept, start=1)]
        connection.execute(insert(log), rows)


def prune(connection: Connection, listed: int) -> None:
    """Removes the logs of jobs that are not among the newest `listed` any more."""
    newest = select(jobs.c.id).order_by(jobs.c.submitted.desc()).limit(listed)
    connection.execute(delete(log).where(log.c.job.not_in(newest)))


def read(engine: Engine, job: str, after: int = 0) -> list[Line]:
    """At most MAX_READ lines of a job, those that come after the line with that number."""
    wanted = select(log.c.number, log.c.at, log.c.text).where(log.c.job == job, log.c.number > after)
    with engine.connect() as connection:
        rows = connection.execute(wanted.order_by(log.c.number).limit(MAX_READ)).all()
    return [Line(row.number, row.at, row.text) for row in rows]
