"""What the process that runs a job tells the trainer: JSON lines on its standard output."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MAX_LINE_BYTES = 64 * 1024


class JobEvent(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(JobEvent):
    """A phase of the run begins."""

    event: Literal["phase"] = "phase"
    name: str


class Step(JobEvent):
    """A step has ended. `loss` is in nats a token."""

    event: Literal["step"] = "step"
    done: int
    total: int
    loss: float


class Note(JobEvent):
    """What people should know about the run."""

    event: Literal["note"] = "note"
    text: str


class Succeeded(JobEvent):
    """published: model@version each."""

    event: Literal["succeeded"] = "succeeded"
    published: tuple[str, ...]


class Failed(JobEvent):
    """again: trying again may help."""

    event: Literal["failed"] = "failed"
    reason: str
    again: bool


Event = Annotated[Phase | Step | Note | Succeeded | Failed, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: bytes) -> Event:
    """Raises ValueError."""
    return _EVENT.validate_json(line)
