"""What the ledger will say of one request, from its acceptance to its end; both are said once."""

from dataclasses import dataclass, replace

from services.gateway.domain.generation import Generation
from services.gateway.ledger.ledger import LedgerWriter
from services.gateway.ledger.row import Outcome, Row
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from tidegate.worker.v1 import worker_pb2


@dataclass(frozen=True, slots=True)
class UsedResources:
    version: str
    service_class: ServiceClass
    usage: worker_pb2.Usage
    queue_wait_ms: int


class LedgerEntry:
    def __init__(self, generation: Generation, books: LedgerWriter, clock: Clock) -> None:
        self._generation, self._books, self._clock = generation, books, clock
        self._opened_at, self._first_token_at = clock.monotonic(), 0.0
        self._row: Row | None = None
        self._ended = False

    def accept(self) -> None:
        if self._row is None:
            self._row = _first_row(self._generation, self._clock.wall())
            self._books.accepted(self._row)

    def first_token(self) -> None:
        self._first_token_at = self._clock.monotonic()

    def end(self, outcome: Outcome, used: UsedResources) -> None:
        """A request that was never accepted leaves no row."""
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
        self._books.ended(row)

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
