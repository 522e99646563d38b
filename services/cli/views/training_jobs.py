"""Training jobs as tables and documents."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table

from services.cli.views.output import build_table, out

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.jobs.job import Job
    from trainer.jobs.queue import JobQueue

EVERY_S = 1.0
"""Seconds between two looks at a log that is followed."""

_COLUMNS = ("job", "state", "step", "loss", "attempts", "what")


def job_table(jobs: "list[Job]") -> Table:
    """One row for each job."""
    return build_table(_COLUMNS, [_row(job) for job in jobs])


def job_document(job: "Job") -> dict[str, Any]:
    """A job as JSON, without its recipe."""
    return {key: value for key, value in asdict(job).items() if key != "recipe"}


def job_state(job: "Job") -> str:
    """The state of a job; `cancelling` while a running job has been told to end."""
    return "cancelling" if job.cancelling and not job.has_ended else job.state


def _row(job: "Job") -> tuple[object, ...]:
    loss = f"{job.loss:.3f}" if job.loss is not None else "-"
    what = job.error or ", ".join(job.published) or job.phase
    return job.id, job_state(job), f"{job.step}/{job.steps}" if job.steps else "-", loss, job.attempts, what


def follow_log(queue: "JobQueue", job: str, *, follow: bool, sleep: "Callable[[float], None]" = time.sleep) -> None:
    """Prints the lines of a job's log.

    Args:
        queue: Has the job.
        job: Its id.
        follow: Whether to go on until the job has ended.
        sleep: Waits so many seconds between two looks.

    Raises:
        UnknownJob: There is no such job.
    """
    last = 0
    while True:
        has_ended = queue.get(job).has_ended  # before the lines: whatever it said is there then
        while lines := queue.log(job, last):
            for line in lines:
                out().print(f"{datetime.fromtimestamp(line.at, UTC):%Y-%m-%d %H:%M:%S}Z {line.text}", markup=False)
            last = lines[-1].number
        if has_ended or not follow:
            return
        sleep(EVERY_S)
