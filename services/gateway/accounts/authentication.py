"""Who is calling: the two keys of the settings, compared in constant time, and the keys of the database, cached."""

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from services.gateway.accounts.api_keys import ApiKeys
from services.gateway.accounts.key_headers import presented_key
from services.gateway.accounts.store import Found
from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.account import DEFAULT_TENANT, Caller, Key, Spending
from services.shared.clock import Clock
from services.shared.errors import Overloaded, Unauthenticated

log = logging.getLogger(__name__)

FRESH_S = 3.0
MAX_CACHED = 10_000
# While the database is away it is asked this often, not at every request.
ASK_AGAIN_S = 1.0

FindKey = Callable[[str, float], Awaitable[Found | None]]
"""Looks a key up by its digest or by its id. The second argument is the time in seconds since 1970."""


class Authentication:
    """Finds the caller behind a key.

    Args:
        api_key: the settings' key with the role `inference`; it needs no database.
        admin_key: the settings' key with the role `admin`; it needs no database.
        by_digest: keys of the database, by digest.
        by_id: the same keys, by id.
    """

    def __init__(
        self, api_key: str, admin_key: str, api_keys: ApiKeys, by_digest: "KeyCache", by_id: "KeyCache", clock: Clock
    ) -> None:
        self._api_keys, self._by_digest, self._by_id, self._clock = api_keys, by_digest, by_id, clock
        self._settings_keys = (
            (api_keys.digest(api_key), Caller("settings-api-key", DEFAULT_TENANT, "inference")),
            (api_keys.digest(admin_key), Caller("settings-admin-key", DEFAULT_TENANT, "admin")),
        )

    async def authenticate(self, key_headers: Iterable[tuple[str, str]]) -> Caller:
        """Finds the caller of a request.

        Args:
            key_headers: name and value of each header that may hold a key, as `presented_key` takes them.

        Raises:
            Unauthenticated: the key is missing, unknown, revoked or expired, or there are different ones. The message
                repeats nothing of them.
            Overloaded: the database is away and the key was not seen here before.
        """
        key = presented_key(key_headers)
        digest = self._api_keys.digest(key)
        for settings_digest, caller in self._settings_keys:
            if hmac.compare_digest(settings_digest, digest):
                return caller
        if not self._api_keys.is_ours(key):
            raise Unauthenticated("Incorrect API key provided.")
        return self._admit(await self._by_digest.get(digest))

    async def authenticate_id(self, key_id: str) -> Caller:
        """Finds the caller for work that was begun with this key earlier, with the rights that the key has now.

        Raises:
            Unauthenticated: the key was revoked or has expired.
            Overloaded: the database is away and the key was not seen here before.
        """
        for _, caller in self._settings_keys:
            if caller.key_id == key_id:
                return caller
        return self._admit(await self._by_id.get(key_id))

    def _admit(self, cached: "CachedKey") -> Caller:
        if cached.key is None or cached.caller is None:
            raise Unauthenticated("Incorrect API key provided.")
        if cached.key.revoked is not None:
            raise Unauthenticated("This API key was revoked.")
        if cached.key.expires is not None and cached.key.expires <= self._clock.wall():
            raise Unauthenticated("This API key has expired.")
        return cached.caller


@dataclass(frozen=True, slots=True)
class CachedKey:
    """What the database said of a key; `key` and `caller` are None when there is no such key.

    Args:
        checked_at: monotonic seconds.
    """

    key: Key | None
    caller: Caller | None
    checked_at: float


class KeyCache:
    """Keys that were looked up a moment ago, so that few requests wait for the database.

    An entry is valid for FRESH_S, so a revoked key ends within seconds on every gateway. While the database is away,
    entries stay valid, however old they are: nobody can revoke a key then.
    """

    def __init__(self, find: FindKey, clock: Clock) -> None:
        self._find, self._clock = find, clock
        self._cached: OrderedDict[str, CachedKey] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[CachedKey]] = {}
        self._away_until = clock.monotonic()

    async def get(self, name: str) -> CachedKey:
        """Returns the key from the cache or from the database.

        Args:
            name: a digest or an id, as `find` takes it.

        Raises:
            Overloaded: the database is away and the key was not seen here before.
        """
        cached = self._cached.get(name)
        now = self._clock.monotonic()
        if cached and (now - cached.checked_at < FRESH_S or now < self._away_until):
            self._cached.move_to_end(name)
            return cached
        try:
            return await self._look_up(name)
        except DatabaseAway as away:
            self._note(away)
            if cached:
                return cached
            raise Overloaded(
                "API keys cannot be checked now. Please try again.", code="accounts_unavailable", retry_after_s=1.0
            ) from None

    def forget_all(self) -> None:
        """Empties the cache after a change made here. Other gateways learn of it when their entries are too old."""
        self._cached.clear()

    async def _look_up(self, name: str) -> CachedKey:
        """One query at a time for each key, however many requests wait for it."""
        if name not in self._lookups:
            task = self._lookups[name] = asyncio.create_task(self._query(name), name="look up a key")
            task.add_done_callback(lambda ended: self._looked_up(name, ended))
        return await asyncio.shield(self._lookups[name])

    async def _query(self, name: str) -> CachedKey:
        now = self._clock.wall()
        found = await self._find(name, now)
        caller = Caller.of(found.key, found.tenant, self._spending(name, found, now)) if found else None
        cached = CachedKey(found.key if found else None, caller, self._clock.monotonic())
        self._cached[name] = cached
        self._cached.move_to_end(name)
        while len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return cached

    def _spending(self, name: str, found: Found, now: float) -> Spending | None:
        """The same object as before while the budget is the same, since running requests still add to it."""
        before = self._cached.get(name)
        spending = before.caller.spending if before and before.caller else None
        if found.key.budget is None or spending is None or spending.budget != found.key.budget:
            return Spending(found.key.budget, found.used, now) if found.key.budget else None
        spending.learn(found.used, now)
        return spending

    def _looked_up(self, name: str, task: asyncio.Task[CachedKey]) -> None:
        del self._lookups[name]
        if not task.cancelled():
            # Those who wait get the error. When nobody waits any more, it must not be logged as unseen.
            task.exception()

    def _note(self, away: DatabaseAway) -> None:
        if self._clock.monotonic() >= self._away_until:
            log.warning("keys cannot be looked up: the database is away: %s", away)
        self._away_until = self._clock.monotonic() + ASK_AGAIN_S
