"""Who is calling: the keys of the settings, compared in constant time, and those of the database."""

import hmac
from typing import Protocol

from services.gateway.accounts.api_keys import ApiKeys
from services.gateway.accounts.key_cache import Known
from services.gateway.domain.account import DEFAULT_TENANT, Caller
from services.shared.clock import Clock
from services.shared.errors import Unauthenticated


class Lookup(Protocol):
    async def get(self, name: str) -> Known: ...


class Authentication:
    def __init__(
        self, api_key: str, admin_key: str, api_keys: ApiKeys, known: Lookup, known_ids: Lookup, clock: Clock
    ) -> None:
        """api_key, admin_key: those of the settings, which need no database."""
        self._api_keys, self._known, self._known_ids, self._clock = api_keys, known, known_ids, clock
        self._of_settings = (
            (api_keys.digest(api_key), Caller("settings-api-key", DEFAULT_TENANT, "inference")),
            (api_keys.digest(admin_key), Caller("settings-admin-key", DEFAULT_TENANT, "admin")),
        )

    async def authenticate(self, authorization: str | None) -> Caller:
        """`authorization` is the whole header. Raises Overloaded, and Unauthenticated, which repeats nothing."""
        key = _bearer(authorization)
        digest = self._api_keys.digest(key)
        for own, caller in self._of_settings:
            if hmac.compare_digest(own, digest):
                return caller
        if not self._api_keys.is_ours(key):
            raise Unauthenticated("Incorrect API key provided.")
        return self._admit(await self._known.get(digest))

    async def still(self, key_id: str) -> Caller:
        """The key that work was begun with, as it stands now. Raises Overloaded, and Unauthenticated."""
        for _, caller in self._of_settings:
            if caller.key_id == key_id:
                return caller
        return self._admit(await self._known_ids.get(key_id))

    def _admit(self, known: Known) -> Caller:
        if known.key is None or known.caller is None:
            raise Unauthenticated("Incorrect API key provided.")
        if known.key.revoked is not None:
            raise Unauthenticated("This API key was revoked.")
        if known.key.expires is not None and known.key.expires <= self._clock.wall():
            raise Unauthenticated("This API key has expired.")
        return known.caller


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("You didn't provide an API key. Send it as 'Authorization: Bearer <key>'.")
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("The authorization scheme must be 'Bearer'.")
    return key.strip()
