"""The ledger's row of one accepted request: how it ended and what it used."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import orjson

from services.gateway.domain.generation import Generation
from services.gateway.domain.period import day_of
from services.gateway.domain.usage import Outcome, UsedResources
from services.shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        request_id: the generation's id.
        accepted: seconds since 1970.
        tier_asked: the service tier as the client named it.
        tier: the one that the request was served in.
        version: of the model or adapter that served it; empty when none did.
        outcome: `lost` until the request has ended.
        ttft_ms: from the request to its first token; None when none came.
        duration_ms: from the request to its end.
    """

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
        """It says how the request ended."""
        return self.outcome != "lost"

    @property
    def tokens(self) -> int:
        """Tokens that count for a budget."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def day(self) -> str:
        """The day in UTC that its usage counts for, as YYYY-MM-DD."""
        return day_of(self.accepted).isoformat()

    def line(self) -> bytes:
        """The row as a line of JSON."""
        return orjson.dumps(self, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Reads what `line` wrote.

        Raises:
            ValueError: the line is no row.
        """
        try:
            return cls(**orjson.loads(line))
        except TypeError as error:
            raise ValueError(str(error)) from None


class RowWriter(Protocol):
    """Takes the two rows that a request leaves."""

    def accepted(self, row: Row) -> None:
        """Keeps the row that counts if this process dies before the request has ended."""
        ...

    def ended(self, row: Row) -> None:
        """Keeps the row that says how the request ended."""
        ...


class RequestEntry:
    """The row of one request while it grows (LedgerEntry says what its methods mean)."""

    def __init__(self, generation: Generation, rows: RowWriter, clock: Clock) -> None:
        self._generation, self._rows, self._clock = generation, rows, clock
        self._opened_at, self._first_token_at = clock.monotonic(), 0.0
        self._row: Row | None = None
        self._ended = False

    def accept(self) -> None:
        """Writes the first row."""
        if self._row is None:
            self._row = _first_row(self._generation, self._clock.wall())
            self._rows.accepted(self._row)

    def first_token(self) -> None:
        """Notes the time."""
        self._first_token_at = self._clock.monotonic()

    def end(self, outcome: Outcome, used: UsedResources) -> None:
        """Writes the last row and charges the key's budget. A request that was never accepted leaves no row."""
        if self._row is None or self._ended:
            return
        self._ended = True
        row = replace(
            self._row,
            outcome=outcome,
            version=used.version,
            tier=used.service_class.label,
            prompt_tokens=used.usage.prompt_tokens,
            cached_tokens=used.usage.cached_tokens,
            completion_tokens=used.usage.completion_tokens,
            queue_wait_ms=used.queue_wait_ms,
            ttft_ms=self._since_opened(self._first_token_at) if self._first_token_at else None,
            duration_ms=self._since_opened(self._clock.monotonic()),
        )
        self._generation.caller.spend(row.tokens)
        self._rows.ended(row)

    def _since_opened(self, at: float) -> int:
        return round((at - self._opened_at) * 1000)


def _first_row(generation: Generation, now: float) -> Row:
    return Row(
        request_id=generation.id,
        accepted=now,
        tenant=generation.caller.tenant,
        key_id=generation.caller.key_id,
        model=generation.model.id,
        tier_asked=generation.tier_asked,
        tier=generation.service_class.label,
    )
