"""What the processes that learn together tell the one that started them: JSON lines."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from trainer.run_events import Note, Phase, RunEvent, Step
from trainer.watcher import Watcher

MAX_REASON = 4000
"""Characters of a reason: an event is a line of bounded length."""


class Failed(RunEvent):
    """The processes have ended without a result.

    rank: of the one that failed first. kind: name of the exception that it raised, if it raised one. signal: that
    ended it, if one did; else status is its exit status.
    """

    event: Literal["failed"] = "failed"
    rank: int
    kind: str | None
    reason: str
    signal: str | None
    status: int


Event = Annotated[Phase | Note | Step | Failed, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: bytes) -> Event:
    """Raises ValueError."""
    return _EVENT.validate_json(line)


def pass_on(event: Event, watcher: Watcher) -> None:
    """Tells a watcher what an event says."""
    if isinstance(event, Phase):
        watcher.phase(event.name)
    elif isinstance(event, Note):
        watcher.note(event.text)
    elif isinstance(event, Step):
        watcher.step(event.done, event.total, event.loss)
