"""Training jobs as tables and documents."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from services.cli.views.output import build_table

if TYPE_CHECKING:
    from trainer.jobs.job import Job

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
