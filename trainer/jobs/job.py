"""A training job: what was asked for, and how it stands."""

from dataclasses import dataclass, field
from typing import Literal

from trainer.step_figures import StepFigures

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")

MAX_DATA_BYTES = 16 * 1024 * 1024
"""Chats travel with their job, so that any trainer can run it."""


@dataclass(frozen=True, slots=True)
class Job:
    """recipe: JSON. attempts: how often it was begun. Times in Unix seconds. published: model@version each."""

    id: str
    state: State
    recipe: str
    submitted: float
    attempts: int
    owner: str | None = None
    cancelling: bool = False
    started: float | None = None
    ended: float | None = None
    step: int = 0
    steps: int = 0
    loss: float | None = None
    phase: str = ""
    error: str | None = None
    published: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """The job will not run again."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job, until it expires. `owner` and `attempt` fence: only the newest lease may report."""

    job: Job
    data: str
    attempt: int
    owner: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is. `loss` is in nats a token. figures: what the last step cost."""

    step: int = 0
    steps: int = 0
    loss: float | None = None
    phase: str = ""
    figures: StepFigures = field(default_factory=StepFigures)


@dataclass(frozen=True, slots=True)
class Failure:
    """again: trying again may help."""

    reason: str
    again: bool


Order = Literal["go on", "cancel", "lost"]
"""What a heartbeat is answered. lost: another trainer has the job now, or it has ended."""
