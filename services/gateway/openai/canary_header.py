"""The header with which a request asks for the version that is on trial in a canary rollout."""

from collections.abc import Iterable, Mapping

from services.shared.config import Pool

HEADER = "x-tidegate-canary"


def asks_for_canary(value: str | None) -> bool:
    """Whether a request with this value of the header asks for the new version."""
    return value == "true"


class CanaryTenants:
    """Which tenants may ask for the new version, by pool.

    Args:
        allowed: names of tenants by name of the pool.
    """

    def __init__(self, allowed: Mapping[str, frozenset[str]] | None = None) -> None:
        self._allowed = allowed or {}

    @classmethod
    def of_pools(cls, pools: Iterable[Pool]) -> "CanaryTenants":
        """Reads the pools of tidegate.yaml."""
        return cls({pool.name: frozenset(pool.rollout.canary_tenants) for pool in pools})

    def may_ask(self, pool: str, tenant: str) -> bool:
        """Whether requests of a tenant may ask for the new version of a pool."""
        return tenant in self._allowed.get(pool, ())
