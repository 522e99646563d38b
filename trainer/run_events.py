"""What every run tells while it goes: JSON lines, from the process that runs to the one that started it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class RunEvent(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(RunEvent):
    """A phase of the run begins."""

    event: Literal["phase"] = "phase"
    name: str


class Note(RunEvent):
    """What people should know about the run."""

    event: Literal["note"] = "note"
    text: str


class Step(RunEvent):
    """A step has ended. `loss` is in nats a token."""

    event: Literal["step"] = "step"
    done: int
    total: int
    loss: float
