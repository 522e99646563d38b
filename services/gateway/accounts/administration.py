"""Handing out keys: the acts behind the admin API, each told in the log without its secret."""

import logging
import re
from typing import Protocol

from services.gateway.accounts.api_keys import ApiKeys, NewKey
from services.gateway.accounts.key_cache import KeyCache
from services.gateway.accounts.store import AccountStore, Unknown
from services.gateway.domain.account import Caller, Key, Tenant
from services.shared.clock import Clock

log = logging.getLogger(__name__)

KEY_ID = re.compile(r"key_[0-9a-f]{16}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class KeyRequest(Protocol):
    """What an administrator asks of a new key."""

    def key(self, new: NewKey, now: float) -> Key:
        """Returns the record of the key. now: seconds since 1970."""
        ...


class Administration:
    """Raises Unknown and DatabaseAway."""

    def __init__(self, store: AccountStore, api_keys: ApiKeys, known: tuple[KeyCache, ...], clock: Clock) -> None:
        """known: what this gateway remembers of keys, to be looked up again after a change."""
        self._store, self._api_keys, self._known, self._clock = store, api_keys, known, clock

    async def create(self, wanted: KeyRequest, by: Caller) -> tuple[Key, str]:
        """The key's facts, and the key itself, which nobody can ask for again."""
        new = self._api_keys.mint()
        key = wanted.key(new, self._clock.wall())
        await self._store.add(key, new)
        _tell("key created", key, by)
        return key, new.key

    async def rotate(self, key_id: str, grace_s: float, by: Caller) -> tuple[Key, str]:
        new = self._api_keys.mint()
        key = await self._store.rotate(_checked(KEY_ID, key_id), new, self._clock.wall() + grace_s)
        self._forget()
        _tell("key rotated", key, by)
        return key, new.key

    async def revoke(self, key_id: str, by: Caller) -> Key:
        key = await self._store.revoke(_checked(KEY_ID, key_id), self._clock.wall())
        self._forget()
        _tell("key revoked", key, by)
        return key

    async def get(self, key_id: str) -> Key:
        return await self._store.get(_checked(KEY_ID, key_id))

    async def keys(self, tenant: str | None) -> list[Key]:
        return await self._store.keys_of(tenant and _checked(NAME, tenant))

    async def tenants(self) -> list[Tenant]:
        return await self._store.tenants()

    async def put_tenant(self, tenant: Tenant, by: Caller) -> None:
        await self._store.put_tenant(tenant)
        self._forget()
        log.info("tenant changed", extra={"tenant": tenant.name, "by": by.key_id})

    def _forget(self) -> None:
        for known in self._known:
            known.forget_all()


def _checked(wanted: re.Pattern[str], name: str) -> str:
    """What cannot be a name is never asked for in the database. Raises Unknown."""
    if not wanted.fullmatch(name):
        raise Unknown("There is nothing of that name.")
    return name


def _tell(what: str, key: Key, by: Caller) -> None:
    log.info(what, extra={"key_id": key.id, "prefix": key.prefix, "tenant": key.tenant, "by": by.key_id})
