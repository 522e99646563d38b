"""A limit's two budgets, as the generic cell rate algorithm keeps them: by the time (ms) at which each is whole."""

from dataclasses import dataclass
from math import floor

from services.router.redis.scripts import Limit

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Budget:
    requests_at: float = 0.0
    tokens_at: float = 0.0

    def wait(self, now: float, limit: Limit, tokens: int) -> float | None:
        """Milliseconds until one request of so many tokens is let through; None: never."""
        waits = [0.0]
        for whole_at, budget, amount in (
            (self.requests_at, limit.requests_per_minute, 1),
            (self.tokens_at, limit.tokens_per_minute, tokens),
        ):
            if budget and amount > budget:
                return None
            if budget:
                waits.append(_after(whole_at, now, budget, amount) - now - MINUTE_MS)
        return max(waits)

    def charged(self, now: float, limit: Limit, tokens: int) -> "Budget":
        requests, budget = limit.requests_per_minute, limit.tokens_per_minute
        return Budget(
            _kept(_after(self.requests_at, now, requests, 1) if requests else self.requests_at),
            _kept(_after(self.tokens_at, now, budget, tokens) if budget else self.tokens_at),
        )

    def corrected(self, now: float, limit: Limit, difference: int) -> "Budget":
        after = max(self.tokens_at, now) + difference * MINUTE_MS / limit.tokens_per_minute
        return Budget(self.requests_at, _kept(after))

    def is_whole(self, now: float) -> bool:
        return max(self.requests_at, self.tokens_at) <= now

    def requests_left(self, now: float, limit: Limit) -> int:
        return _left(self.requests_at, now, limit.requests_per_minute)

    def tokens_left(self, now: float, limit: Limit) -> int:
        return _left(self.tokens_at, now, limit.tokens_per_minute)


def _after(whole_at: float, now: float, budget: int, amount: int) -> float:
    return max(whole_at, now) + amount * MINUTE_MS / budget


def _kept(whole_at: float) -> float:
    """Redis keeps thousandths of a millisecond."""
    return float(f"{whole_at:.3f}")


def _left(whole_at: float, now: float, budget: int) -> int:
    return max(0, floor(budget * (1 - max(0.0, whole_at - now) / MINUTE_MS)))
