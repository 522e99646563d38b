"""A batch: what the client asked for, its state, and which gateway works on it. It is stored as one JSON document."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
Status = Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
ENDED: tuple[Status, ...] = ("completed", "failed", "expired", "cancelled")
WINDOW_S = 24 * 3600
_ID = re.compile(r"batch_[0-9a-f]{32}")


class Counts(BaseModel):
    """How many requests of a batch have ended, and how."""

    model_config = ConfigDict(frozen=True)

    total: int = 0
    completed: int = 0
    failed: int = 0


class Problem(BaseModel):
    """What is wrong with the input file. code: OpenAI's. line: counted from 1; None if the whole file is wrong."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Batch(BaseModel):
    """A batch, as it is stored.

    Attributes:
        owner: the gateway that works on it; None when no gateway does.
        beat: grows each time the owner writes the document, which shows that the owner is alive.
        created: seconds since 1970.
        reached: when the batch entered each status, in seconds since 1970.
        output_lifetime_s: seconds after which output file and error file expire; None if they never do.
    """

    # Documents that the first release wrote have more fields about the key than its id.
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    tenant: str
    key_id: str
    endpoint: Endpoint
    input_file_id: str
    created: int
    metadata: dict[str, str] | None = None
    output_lifetime_s: int | None = None
    status: Status = "validating"
    reached: dict[Status, int] = Field(default_factory=dict)
    counts: Counts = Counts()
    problems: tuple[Problem, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    owner: str | None = None
    beat: int = 0

    @property
    def ended(self) -> bool:
        """Whether the batch has ended, in whatever way."""
        return self.status in ENDED

    @property
    def expires(self) -> int:
        """When the batch expires, in seconds since 1970."""
        return self.created + WINDOW_S

    def entered(self, status: Status, now: float, **changes: Any) -> "Batch":
        """Returns the batch in another status.

        A batch that is being cancelled stays so until it ends, and it always ends `cancelled`.

        Args:
            status: to enter.
            now: seconds since 1970.
            changes: other fields that change.
        """
        if self.status == "cancelling":
            status = "cancelled" if status in ENDED else "cancelling"
        if status == self.status:
            return self.model_copy(update=changes)
        return self.model_copy(update={"status": status, "reached": {**self.reached, status: int(now)}, **changes})

    def document(self) -> dict[str, Any]:
        """Returns the batch as OpenAI shows it."""
        problems = {"object": "list", "data": [problem.model_dump() for problem in self.problems]}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": problems if self.problems else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created,
            "expires_at": self.expires,
            **{
                f"{status}_at": self.reached.get(status)
                for status in ("in_progress", "finalizing", *ENDED, "cancelling")
            },
            "request_counts": self.counts.model_dump(),
            "metadata": self.metadata,
        }


def mint_id(now: float, bits: int) -> str:
    """Returns a new id. Ids sort by time.

    Args:
        now: seconds since 1970.
        bits: 80 random bits.
    """
    return f"batch_{int(now * 1000):012x}{bits:020x}"


def is_id(text: str) -> bool:
    """Returns whether a text can be the id of a batch."""
    return bool(_ID.fullmatch(text))
