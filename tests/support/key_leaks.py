"""The key leak checker: after a test, Redis may hold no key of any request, and no key that keys.py does not name."""

from collections.abc import Sequence

import redis

from services.router.core.keys import NAMES, PoolKeys

REQUEST_PREFIXES = ("request:", "owned:", "held:", "queue:", "running:", "deadlines", "yielding", "open:")
"""Keys that exist while a request is queued or granted: its own, and what it uses of limits and workers."""

SIMULATED_CLOCK = "clock"
"""The key from which scripts read the time in tests with a simulated clock."""


def request_keys(client: redis.Redis, pools: Sequence[str] = ("tide",)) -> set[str]:
    """The keys that exist only while requests are queued or granted."""
    return {name for pool in pools for name in _keys_of(client, pool) if name.startswith(REQUEST_PREFIXES)}


def leaked_keys(client: redis.Redis, pools: Sequence[str] = ("tide",)) -> set[str]:
    """Keys that keys.py does not name, and keys of requests, workers or sessions that no longer exist.

    Args:
        client: Of a Redis that holds these pools, and nothing else.
        pools: Names of the pools.
    """
    roots = tuple(PoolKeys(pool).root for pool in pools)
    strangers = {key for key in _keys(client) if not key.startswith(roots)}
    return strangers.union(*(_leaked_of(client, pool) for pool in pools))


def _leaked_of(client: redis.Redis, pool: str) -> set[str]:
    found = _keys_of(client, pool)
    unnamed = {name for name in found if not _is_named(name)}
    requests = {name.partition(":")[2] for name in found if name.startswith("request:")}
    orphans = {
        name
        for name in found
        for kind, owner in (("held:", "worker:"), ("owned:", "session:"))
        if name.startswith(kind) and owner + name.removeprefix(kind) not in found
    }
    root = PoolKeys(pool).root
    lost = {f"request:{i}" for i in requests if not client.hget(f"{root}request:{i}", "session")}
    return unnamed | orphans | lost


def _keys_of(client: redis.Redis, pool: str) -> set[str]:
    """All keys of the pool, without the prefix that they share."""
    root = PoolKeys(pool).root
    return {key.removeprefix(root) for key in _keys(client) if key.startswith(root)}


def _keys(client: redis.Redis) -> set[str]:
    return {key.decode() if isinstance(key, bytes) else key for key in client.scan_iter()}


def _is_named(name: str) -> bool:
    return (
        name in NAMES
        or name == SIMULATED_CLOCK
        or any(known.endswith(":") and name.startswith(known) for known in NAMES)
    )
