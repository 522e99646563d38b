"""A row of the ledger: what became of one accepted request, and what it used."""

from dataclasses import dataclass
from typing import Literal, Self

import orjson

from services.gateway.domain.period import day_of

Outcome = Literal["completed", "cancelled", "failed", "timed_out", "lost"]
"""lost: its gateway died before it knew."""


@dataclass(frozen=True, slots=True)
class Row:
    """accepted: seconds since 1970. version, tier: those that served it; no version when none did."""

    request_id: str
    accepted: float
    tenant: str
    key_id: str
    model: str
    tier_asked: str
    tier: str
    version: str = ""
    outcome: Outcome = "lost"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_wait_ms: int = 0
    ttft_ms: int | None = None
    duration_ms: int = 0

    @property
    def is_final(self) -> bool:
        return self.outcome != "lost"

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def day(self) -> str:
        return day_of(self.accepted).isoformat()

    def line(self) -> bytes:
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Raises ValueError for what is no row."""
        try:
            return cls(**orjson.loads(line))
        except TypeError as error:
            raise ValueError(str(error)) from None
