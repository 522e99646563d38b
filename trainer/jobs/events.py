"""What the process that runs a job tells the trainer: JSON lines on its standard output."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from trainer.run_events import Note, Phase, RunEvent, Step

MAX_LINE_BYTES = 64 * 1024


class Succeeded(RunEvent):
    """published: model@version each."""

    event: Literal["succeeded"] = "succeeded"
    published: tuple[str, ...]


class Failed(RunEvent):
    """again: trying again may help."""

    event: Literal["failed"] = "failed"
    reason: str
    again: bool


Event = Annotated[Phase | Step | Note | Succeeded | Failed, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: bytes) -> Event:
    """Raises ValueError."""
    return _EVENT.validate_json(line)
