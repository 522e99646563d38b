"""Every Redis key of the router, named once.

All keys of a pool begin with its root, whose hash tag {pool} keeps them in one slot of a Redis Cluster. Scripts get the
root as their only key; lua/include/keys.lua completes it with the same names, and a test holds the two together. A name
that ends in ':' is a prefix, completed with an id that one of our own processes made.
"""

from dataclasses import dataclass

from services.shared.classes import ServiceClass

ROOT = "tidegate"

NAMES = {
    "queue:": "sorted sets by class label: place in line (arrival and request id) by start tag",
    "tenants:": "sorted sets by class label: tenant by the tag at which its last request ends",
    "running:": "sorted sets by class label: granted request id by the time (ms) of its grant",
    "turns": "hash: by class virtual time, waiting tokens, last turn; pace of grants",
    "arrivals": "counter: arrivals so far",
    "deadlines": "sorted set: queued request id by the time (ms) it is given up",
    "workers": "sorted set: worker id by the time (ms) its lease ends",
    "free": "sorted set: ids of workers that take one more request, in the order that the policy looks at them",
    "kept": "sorted set: ids of workers whose last free slots are for classes that may preempt, in the same order",
    "floods": "set: tenants that are kept out of the refuge",
    "refuge": "sorted set: ids of the workers that floods are kept out of, by the time (ms) since when",
    "wanted:": "sorted sets by worker (*: the refuge) and rank: places of what waits for its cache, by start tag",
    "sessions": "sorted set: gateway session id by the time (ms) its lease ends",
    "seen": "string: time (ms) of the last heartbeat of any worker",
    "yielding": "set: ids of granted requests whose gateways were asked to give them up",
    "prefix": "hash: marker of a prompt's beginning to the caches that hold it",
    "forgotten": "set: ids of caches that are no more and whose markers are still to be cleared away",
    "rollout": "hash: the pool's last rollout (rollout.py)",
    "rules": "hash: class policies changed at run time (rules.py)",
    "request:": "hashes: one queued or granted request",
    "worker:": "hashes: one worker as its last heartbeat and our grants describe it",
    "held:": "sets: ids of the requests granted to one worker",
    "session:": "strings: id of the router replica that one gateway session is connected to",
    "owned:": "sets: ids of the requests of one gateway session",
    "outbox:": "lists: events for the sessions and workers of one router replica",
    "cache:": "sorted sets by cache id: markers that one worker's KV cache holds, least recently used first",
    "limit:": "hashes by limit's name: when its request and token budgets are whole again",
    "log:": "strings by request id: what one stream has come to, as its gateway wrote it",
    "logs": "sorted set: request id of each log by the time (ms) it expires",
    "logs:": "sorted sets by tenant: the same, of one tenant's logs",
    "open:": "sets by limit's name: ids of requests that count against its concurrency",
}


@dataclass(frozen=True, slots=True)
class PoolKeys:
    pool: str

    @property
    def root(self) -> str:
        return f"{ROOT}:{{{self.pool}}}:"

    def key(self, name: str, rest: str = "") -> str:
        """`name` is one of NAMES; `rest` completes a prefix. Raises KeyError for another name."""
        if name not in NAMES or name.endswith(":") != bool(rest):
            raise KeyError(name + rest)
        return self.root + name + rest

    def queue(self, service_class: ServiceClass) -> str:
        return self.key("queue:", service_class.label)

    def running(self, service_class: ServiceClass) -> str:
        return self.key("running:", service_class.label)
