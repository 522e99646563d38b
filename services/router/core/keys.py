"""Every Redis key of the router, named once.

All keys of a pool begin with its root. The root has the hash tag {pool}, which keeps them in one slot of a Redis
Cluster. Scripts get the root as their only key and complete it themselves: redis/lua_loader.py writes the names that a
script uses into it. A name that ends in ':' is a prefix; the id of a worker, a request and so on completes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.shared.classes import ServiceClass

ROOT = "tidegate"

NAMES = {
    "queue:": "sorted sets by class: place in line (arrival and request id) by start tag",
    "tenants:": "sorted sets by class: tenant by the tag at which its last request ends",
    "running:": "sorted sets by class: granted request id by the time (ms) of its grant",
    "turns": "hash: state of the fair queue, such as virtual times and pace (lua/lib/fair_queue.lua names its fields)",
    "arrivals": "counter: arrivals so far",
    "deadlines": "sorted set: queued request id by the time (ms) at which its wait ends",
    "workers": "sorted set: worker id by the time (ms) at which its lease ends",
    "free": "sorted set: ids of workers that can take one more request, in the order of the placement policy",
    "kept": "sorted set: ids of workers whose last free slots are reserved, in the same order",
    "floods": "set: noisy tenants; the isolation pool is denied to them",
    "refuge": "sorted set: ids of the workers of the isolation pool by the time (ms) at which each joined it",
    "wanted:": "sorted sets by worker (*: the isolation pool) and rank: places in line that wait for it, by start tag",
    "sessions": "sorted set: gateway session id by the time (ms) at which its lease ends",
    "seen": "string: time (ms) of the last heartbeat of any worker",
    "yielding": "set: ids of running requests that were preempted: their gateways were asked to give them up",
    "prefix": "hash: prefix hash to the caches that hold the prefix",
    "forgotten": "set: ids of caches that no longer exist, whose index entries are still to be deleted",
    "rollout": "hash: the pool's last rollout (rollout_record.py)",
    "rollouts": "list: what happened in the pool's rollouts, oldest first, as JSON (rollout_history.py)",
    "speculator": "hash: the last rollout of the pool's speculator (rollout_record.py)",
    "speculators": "list: what happened in the rollouts of the pool's speculator, as in rollouts",
    "stage": "string: id and version of what the pool's workers stage ahead of a rollout (version_staging.py)",
    "gates:": "hashes by rollout id, and by version and class after it: what answers came to meanwhile (figures.py)",
    "rules": "hash: class rules changed at run time (class_rules.py)",
    "request:": "hashes: one queued or granted request",
    "worker:": "hashes: one worker, as its last heartbeat and its grants describe it",
    "held:": "sets: ids of the requests granted to one worker",
    "session:": "strings: id of the router replica that one gateway session is connected to",
    "owned:": "sets: ids of the requests of one gateway session",
    "outbox:": "lists: events for the sessions and workers of one router replica",
    "cache:": "sorted sets by cache id: prefix hashes in one worker's KV cache, least recently used first",
    "limit:": "hashes by limit's name: when its request and token budgets are full again",
    "log:": "strings by request id: the resume log of one stream, as its gateway wrote it",
    "logs": "sorted set: request id of each resume log by the time (ms) at which it expires",
    "logs:": "sorted sets by tenant: the same, of one tenant's logs",
    "open:": "sets by limit's name: ids of requests that count against its concurrency",
}

# Names that scripts use for keys, where they differ from the key's own name without its colon.
_LUA_NAMES = {
    "queues": "queue:",
    "fair_queue": "turns",
    "reserved": "kept",
    "noisy_tenants": "floods",
    "isolation_pool": "refuge",
    "waiting_for": "wanted:",
    "preempted": "yielding",
    "tenant_logs": "logs:",
}
_BY_CLASS = ("queue:", "tenants:", "running:")


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """The keys of one pool."""

    pool: str

    @property
    def root(self) -> str:
        """What every key of the pool begins with."""
        return f"{ROOT}:{{{self.pool}}}:"

    def key(self, name: str, rest: str = "") -> str:
        """Returns a whole key.

        Args:
            name: One of NAMES.
            rest: What completes a prefix, such as a worker id.

        Raises:
            KeyError: There is no such name, or it is a prefix without a rest.
        """
        if name not in NAMES or name.endswith(":") != bool(rest):
            raise KeyError(name + rest)
        return self.root + name + rest

    def queue(self, service_class: ServiceClass) -> str:
        """The key of a class's queue."""
        return self.key("queue:", service_class.label)

    def running(self, service_class: ServiceClass) -> str:
        """The key of a class's running requests."""
        return self.key("running:", service_class.label)


def lua_names() -> dict[str, str]:
    """The name that scripts use for each key, and the key's own name."""
    named = {name.rstrip(":"): name for name in NAMES if name not in _LUA_NAMES.values()}
    return named | _LUA_NAMES


def lua_table(used: Iterable[str]) -> str:
    """Lua that defines KEY with the names in `used`.

    A key of a class is a table by rank + 1. Names that a script does not use are left out, because each costs time in
    every call.

    Raises:
        KeyError: A name is not one of `lua_names`.
    """
    names = lua_names()
    fields = (f"{lua_name} = {_lua_value(names[lua_name])}" for lua_name in sorted(used))
    return f"local KEY = {{ {', '.join(fields)} }}\n"


def _lua_value(name: str) -> str:
    if name not in _BY_CLASS:
        return f"KEYS[1] .. '{name}'"
    by_rank = (f"KEYS[1] .. '{name}{service_class.label}'" for service_class in ServiceClass)
    return f"{{ {', '.join(by_rank)} }}"
