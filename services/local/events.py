"""What the supervisor reports while it starts and stops a cluster. A detached supervisor sends events as JSON lines."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["note", "begun", "done", "ready", "failed", "stopping", "stopped"]


class Event(BaseModel):
    """One step of a start or stop.

    `subject` is the name of the step, `detail` its result, `status` the exit status of a failure.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    subject: str = ""
    detail: str = ""
    status: int = 0


Report = Callable[[Event], None]
