"""A batch: what was asked for, how it stands, and which gateway works on it. One JSON document in the object store."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/responses"]
Status = Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
ENDED: tuple[Status, ...] = ("completed", "failed", "expired", "cancelled")
WINDOW_S = 24 * 3600
_ID = re.compile(r"batch_[0-9a-f]{32}")


class Counts(BaseModel):
    model_config = ConfigDict(frozen=True)

    total: int = 0
    completed: int = 0
    failed: int = 0


class Problem(BaseModel):
    """What is wrong with a line of the input, counted from 1."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Batch(BaseModel):
    """`beat` grows with each word of life of its `owner`. Times: seconds since 1970."""

    # Documents of the first release say more of their key than its id.
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    tenant: str
    key_id: str
    endpoint: Endpoint
    input_file_id: str
    created: int
    metadata: dict[str, str] | None = None
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
        return self.status in ENDED

    @property
    def expires(self) -> int:
        return self.created + WINDOW_S

    def entered(self, status: Status, now: float, **changes: Any) -> "Batch":
        return self.model_copy(update={"status": status, "reached": {**self.reached, status: int(now)}, **changes})

    def document(self) -> dict[str, Any]:
        """As OpenAI shows it."""
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
    """Later batches have later names. bits: 80 random ones."""
    return f"batch_{int(now * 1000):012x}{bits:020x}"


def is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text))
