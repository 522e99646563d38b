"""What the supervisor tells of a start, in order; JSON lines when it runs detached."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["note", "begun", "done", "ready", "failed", "stopping", "stopped"]


class Event(BaseModel):
    """`subject`: the step. `status`: exit status of a failure."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    subject: str = ""
    detail: str = ""
    status: int = 0


Report = Callable[[Event], None]
