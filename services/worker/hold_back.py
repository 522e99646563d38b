"""Holding back the tokens of an answer that its client gets in one piece: few large deltas instead of many small ones.

The first delta of each choice is never held back, so that the gateway knows when the answer began. What a worker that
dies has held back is generated again: no client has seen it.
"""

from dataclasses import dataclass

from services.shared.clock import Clock
from services.worker.engine.contract import Delta
from services.worker.engine.joining import joined


@dataclass(frozen=True, slots=True)
class _Held:
    delta: Delta
    since: float


class HoldBack:
    """The deltas of one request that wait."""

    def __init__(self, tokens: int, seconds: float, clock: Clock) -> None:
        """Holds nothing yet.

        Args:
            tokens: So many tokens of a choice are due at once.
            seconds: What was held so long is due with the next delta. No timer runs: without a next delta the engine
                stands still, and nobody waits for less than the whole answer.
            clock: Measures the seconds.
        """
        self._tokens, self._seconds, self._clock = tokens, seconds, clock
        self._held: dict[int, _Held | None] = {}

    def keeps(self, delta: Delta) -> bool:
        """Holds a delta back if it may wait. False: it is due, with all that is held of its choice."""
        if delta.finish_reason or delta.choice not in self._held:
            return False
        held = self._held[delta.choice]
        if self.tokens_with(delta) >= self._tokens:
            return False
        now = self._clock.monotonic()
        if held is None:
            self._held[delta.choice] = _Held(delta, now)
            return True
        both = joined(held.delta, delta) if now - held.since < self._seconds else None
        if both is None:
            return False
        self._held[delta.choice] = _Held(both, held.since)
        return True

    def tokens_with(self, delta: Delta) -> int:
        """Tokens of a delta and of what is held of its choice."""
        held = self._held.get(delta.choice)
        return len(delta.token_ids) + (len(held.delta.token_ids) if held else 0)

    def release(self, delta: Delta) -> list[Delta]:
        """Returns what is held of a delta's choice, and the delta, in order and in as few deltas as possible."""
        held = self._held.get(delta.choice)
        self._held[delta.choice] = None
        if held is None:
            return [delta]
        both = joined(held.delta, delta)
        return [held.delta, delta] if both is None else [both]

    def release_all(self) -> list[Delta]:
        """Returns what is held of all choices."""
        held, self._held = self._held, {}
        return [waiting.delta for waiting in held.values() if waiting]
