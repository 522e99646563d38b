"""A file of a tenant: what is known of it, beside its content."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Purpose = Literal["batch", "batch_output"]
_ID = re.compile(r"file-[0-9a-f]{32}")


class File(BaseModel):
    """A file.

    Attributes:
        bytes: its size.
        created: seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created: int

    def document(self) -> dict[str, Any]:
        """Returns the file as OpenAI shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


def mint_id(now: float, bits: int) -> str:
    """Returns a new id. Ids sort by time.

    Args:
        now: seconds since 1970.
        bits: 80 random bits.
    """
    return f"file-{int(now * 1000):012x}{bits:020x}"


def is_id(text: str) -> bool:
    """Returns whether a text can be the id of a file."""
    return bool(_ID.fullmatch(text))
