"""Creating, rotating and revoking keys, and changing tenants. Each change is logged without the key's secret."""

import logging
import re
from typing import Protocol

from services.gateway.accounts.api_keys import ApiKeys, NewKey
from services.gateway.accounts.authentication import KeyCache
from services.gateway.accounts.store import AccountNotFound, AccountStore
from services.gateway.domain.account import Caller, Key, Tenant
from services.shared.clock import Clock

log = logging.getLogger(__name__)

KEY_ID = re.compile(r"key_[0-9a-f]{16}")
TENANT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class KeyRequest(Protocol):
    """What an administrator asks of a new key."""

    def key(self, new: NewKey, now: float) -> Key:
        """Returns the record of the key. now: seconds since 1970."""
        ...


class Administration:
    """What the admin API does. Every method may raise DatabaseAway; those that take a name raise AccountNotFound.

    Args:
        caches: what this gateway remembers of keys; emptied after a change.
    """

    def __init__(self, store: AccountStore, api_keys: ApiKeys, caches: tuple[KeyCache, ...], clock: Clock) -> None:
        self._store, self._api_keys, self._caches, self._clock = store, api_keys, caches, clock

    async def create(self, request: KeyRequest, by: Caller) -> tuple[Key, str]:
        """Makes a key. Returns its record and the key itself, which nobody can read again."""
        new = self._api_keys.mint()
        key = request.key(new, self._clock.wall())
        await self._store.add(key, new)
        _log("key created", key, by)
        return key, new.key

    async def rotate(self, key_id: str, grace_s: float, by: Caller) -> tuple[Key, str]:
        """Gives a key's rights to a new secret. The former secret stays valid for `grace_s` seconds.

        Returns:
            The key's record, and the new secret.
        """
        new = self._api_keys.mint()
        key = await self._store.rotate(_checked(KEY_ID, key_id), new, self._clock.wall() + grace_s)
        self._empty_caches()
        _log("key rotated", key, by)
        return key, new.key

    async def revoke(self, key_id: str, by: Caller) -> Key:
        """Ends a key for good."""
        key = await self._store.revoke(_checked(KEY_ID, key_id), self._clock.wall())
        self._empty_caches()
        _log("key revoked", key, by)
        return key

    async def get(self, key_id: str) -> Key:
        """Returns a key's record."""
        return await self._store.get(_checked(KEY_ID, key_id))

    async def keys(self, tenant: str | None) -> list[Key]:
        """Lists keys, newest first; of all tenants when `tenant` is None."""
        return await self._store.keys_of(tenant and _checked(TENANT_NAME, tenant))

    async def tenants(self) -> list[Tenant]:
        """Lists tenants by name."""
        return await self._store.tenants()

    async def put_tenant(self, tenant: Tenant, by: Caller) -> None:
        """Creates or changes a tenant."""
        await self._store.put_tenant(tenant)
        self._empty_caches()
        log.info("tenant changed", extra={"tenant": tenant.name, "by": by.key_id})

    def _empty_caches(self) -> None:
        for cache in self._caches:
            cache.forget_all()


def _checked(pattern: re.Pattern[str], name: str) -> str:
    """What cannot be a name is never looked up in the database. Raises AccountNotFound."""
    if not pattern.fullmatch(name):
        raise AccountNotFound("There is nothing of that name.")
    return name


def _log(event: str, key: Key, by: Caller) -> None:
    log.info(event, extra={"key_id": key.id, "prefix": key.prefix, "tenant": key.tenant, "by": by.key_id})
