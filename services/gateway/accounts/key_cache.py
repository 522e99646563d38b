"""Keys that were looked up a moment ago: few questions to the database, and none that stops a known key.

What is known holds for FRESH_S, so that a revoked key ends within seconds on every gateway. While the database is away,
what was last known goes on holding: nobody can revoke anything then.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.gateway.accounts.store import Found
from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.account import Caller, Key, Spending
from services.shared.clock import Clock
from services.shared.errors import Overloaded

log = logging.getLogger(__name__)

FRESH_S = 3.0
MAX_KNOWN = 10_000
# While the database is away it is asked this often, not at every request.
ASK_AGAIN_S = 1.0

Find = Callable[[str, float], Awaitable[Found | None]]


@dataclass(frozen=True, slots=True)
class Known:
    """key, caller: None when there is no such key."""

    key: Key | None
    caller: Caller | None
    checked_at: float


class KeyCache:
    def __init__(self, find: Find, clock: Clock) -> None:
        self._find, self._clock = find, clock
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[Known]] = {}
        self._away_until = clock.monotonic()

    async def get(self, name: str) -> Known:
        """name: a digest or an id, as `find` takes it.

        Raises Overloaded for a key that was never seen here while the database is away.
        """
        known = self._known.get(name)
        now = self._clock.monotonic()
        if known and (now - known.checked_at < FRESH_S or now < self._away_until):
            self._known.move_to_end(name)
            return known
        try:
            return await self._look_up(name)
        except DatabaseAway as away:
            self._note(away)
            if known:
                return known
            raise Overloaded(
                "API keys cannot be checked now. Please try again.", code="accounts_unavailable", retry_after_s=1.0
            ) from None

    def forget_all(self) -> None:
        """After a change made here; other gateways learn of it as what they know grows old."""
        self._known.clear()

    async def _look_up(self, name: str) -> Known:
        """One question at a time for each key, however many requests wait for it."""
        if name not in self._lookups:
            task = self._lookups[name] = asyncio.create_task(self._ask(name), name="look up a key")
            task.add_done_callback(lambda ended: self._looked_up(name, ended))
        return await asyncio.shield(self._lookups[name])

    async def _ask(self, name: str) -> Known:
        now = self._clock.wall()
        found = await self._find(name, now)
        caller = Caller.of(found.key, found.tenant, self._spending(name, found, now)) if found else None
        known = Known(found.key if found else None, caller, self._clock.monotonic())
        self._known[name] = known
        self._known.move_to_end(name)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return known

    def _spending(self, name: str, found: Found, now: float) -> Spending | None:
        """The one that requests still running add to, as long as the budget is the same."""
        before = self._known.get(name)
        spending = before.caller.spending if before and before.caller else None
        if found.key.budget is None or spending is None or spending.budget != found.key.budget:
            return Spending(found.key.budget, found.used, now) if found.key.budget else None
        spending.learn(found.used, now)
        return spending

    def _looked_up(self, name: str, task: asyncio.Task[Known]) -> None:
        del self._lookups[name]
        if not task.cancelled():
            task.exception()  # known to those who wait; when nobody does any more, it is no news

    def _note(self, away: DatabaseAway) -> None:
        if self._clock.monotonic() >= self._away_until:
            log.warning("keys cannot be looked up: the database is away: %s", away)
        self._away_until = self._clock.monotonic() + ASK_AGAIN_S
