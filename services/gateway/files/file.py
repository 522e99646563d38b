"""A file of a tenant: what is known of it, beside its content."""

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

UploadPurpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]
"""Why a client uploads a file. Only `batch` files are read here; all others are kept as they are."""
Purpose = UploadPurpose | Literal["batch_output"]
UPLOAD_PURPOSES: tuple[UploadPurpose, ...] = get_args(UploadPurpose)
MIN_LIFETIME_S, MAX_LIFETIME_S = 3600, 30 * 24 * 3600
"""Bounds of `expires_after`; they are OpenAI's."""
_ID = re.compile(r"file-[0-9a-f]{32}")


class File(BaseModel):
    """A file.

    Attributes:
        bytes: its size.
        created: seconds since 1970.
        expires: when it is deleted, in seconds since 1970; None if only its tenant deletes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    filename: str
    purpose: Purpose
    bytes: int
    created: int
    expires: int | None = None

    def expired(self, now: float) -> bool:
        """Whether the file is past its expiry. now: seconds since 1970."""
        return self.expires is not None and now >= self.expires

    def document(self) -> dict[str, Any]:
        """Returns the file as OpenAI shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def check_lifetime(seconds: int) -> int:
    """Returns `seconds` if a file may expire so long after it was made.

    Raises:
        ValueError: it is too short or too long; the text says what is allowed.
    """
    if not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        raise ValueError(f"must be between {MIN_LIFETIME_S} (1 hour) and {MAX_LIFETIME_S} (30 days)")
    return seconds


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
