"""The server's one secret, and a key of its own for every purpose: none of them tells anything about another."""

import hmac
from functools import lru_cache

TENANTS_KNOWN = 4096


class ServerSecret:
    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def key(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HMAC-SHA256 as the extraction and expansion of RFC 5869 in one step)."""
        return hmac.digest(self._secret, b"tidegate/" + purpose.encode(), "sha256")


class CacheSalt:
    """Keeps the prefix caches of tenants apart: whoever shares none cannot learn by timing what another has asked."""

    def __init__(self, secret: ServerSecret, *, shared: bool) -> None:
        self._key = None if shared else secret.key("prefix-cache-salt")
        self.of = lru_cache(TENANTS_KNOWN)(self._of)

    def _of(self, tenant: str) -> str:
        """32 hex digits, the same on every gateway; empty when all tenants share."""
        return hmac.digest(self._key, tenant.encode(), "sha256").hex()[:32] if self._key else ""
