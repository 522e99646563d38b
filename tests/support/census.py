"""What a router left in Redis: after a test, nothing of any request may be there, and no key that nobody named."""

import redis

from services.router.keys import NAMES, PoolKeys

# Of a request that is queued or granted, or of a limit or a worker that one is charged to.
OF_REQUESTS = ("request:", "owned:", "held:", "queue:", "running:", "deadlines", "yielding", "open:")

# Where scripts with a simulated clock find the time.
SIMULATED = "clock"


def names(client: redis.Redis, pool: str) -> set[str]:
    """Keys of the pool, without its root."""
    root = PoolKeys(pool).root
    raw = (key.decode() if isinstance(key, bytes) else key for key in client.scan_iter())
    return {key.removeprefix(root) for key in raw}


def of_requests(client: redis.Redis, pool: str = "tide") -> set[str]:
    return {name for name in names(client, pool) if name.startswith(OF_REQUESTS)}


def unexpected(client: redis.Redis, pool: str = "tide") -> set[str]:
    """Keys that keys.py does not name, and those of requests, workers or sessions that no longer exist."""
    found = names(client, pool)
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


def _is_named(name: str) -> bool:
    return name in NAMES or name == SIMULATED or any(known.endswith(":") and name.startswith(known) for known in NAMES)
