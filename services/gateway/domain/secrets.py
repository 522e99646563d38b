"""The server's secret, and the keys that are derived from it: a separate one for every purpose."""

import hmac
from functools import lru_cache

TENANTS_CACHED = 4096


class ServerSecret:
    """The one secret that all gateways share."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose: HMAC-SHA256, as extraction and expansion of RFC 5869 in one step."""
        return hmac.digest(self._secret, b"tidegate/" + purpose.encode(), "sha256")


class CacheSalt:
    """Keeps the prefix caches of tenants apart, so that no tenant learns by timing what another one has asked.

    Args:
        shared: all tenants share one cache.

    Attributes:
        of: the salt of a tenant, 32 hex digits, the same on every gateway; empty when all tenants share.
    """

    def __init__(self, secret: ServerSecret, *, shared: bool) -> None:
        self._key = None if shared else secret.key("prefix-cache-salt")
        self.of = lru_cache(TENANTS_CACHED)(self._of)

    def _of(self, tenant: str) -> str:
        return hmac.digest(self._key, tenant.encode(), "sha256").hex()[:32] if self._key else ""
