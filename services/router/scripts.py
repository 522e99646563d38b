"""The Lua scripts, one typed call each. The files under lua/ say what they guarantee."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha1
from pathlib import Path
from typing import Self

from services.router.class_rules import Rules
from services.router.keys import PoolKeys
from services.shared.classes import ServiceClass
from services.shared.config import Journal, Pool
from tidegate.router.v1 import router_pb2 as pb

_LUA = Path(__file__).parent / "lua"
_PART = re.compile(r"^ *-- @(include \w+|policy order|policy|clock)$", re.MULTILINE)

NAMES = ("submit", "finish", "heartbeat", "detach", "renew", "reap", "outlook", "record", "journal")


@dataclass(frozen=True, slots=True)
class Composition:
    """What scripts are composed with: a placement policy, a clock, and the figures of turns.lua."""

    policy: str
    clock: str = "server"
    overtaking: int = 0
    burst_tokens: int = 0
    isolation: float = 0.0

    @classmethod
    def of_pool(cls, pool: Pool, clock: str = "server") -> Self:
        return cls(pool.placement, clock, pool.overtaking, pool.burst_tokens, pool.isolation)


@dataclass(frozen=True)
class Script:
    name: str
    of: Composition

    @cached_property
    def source(self) -> str:
        """The file with each of its parts in the place where it names it."""
        of = self.of
        figures = f"local OVERTAKING, BURST, ISOLATION = {of.overtaking}, {of.burst_tokens}, {of.isolation:g}"
        return self._composed(_LUA / f"{self.name}.lua").replace("-- @figures", figures)

    def _composed(self, path: Path) -> str:
        return _PART.sub(lambda line: self._composed(self._part(line[1])), path.read_text())

    def _part(self, named: str) -> Path:
        match named.split():
            case ["include", name]:
                return _LUA / "include" / f"{name}.lua"
            case ["policy", "order"]:
                return _LUA / "policy" / f"{self.of.policy}.order.lua"
            case ["policy"]:
                return _LUA / "policy" / f"{self.of.policy}.lua"
            case _:
                return _LUA / "clock" / f"{self.of.clock}.lua"

    @cached_property
    def sha(self) -> str:
        # SHA-1 is how Redis names scripts; nothing is secured by it.
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()


@cache
def script(name: str, composition: Composition) -> Script:
    return Script(name, composition)


@dataclass(frozen=True, slots=True)
class Call:
    """One script call, ready to be sent."""

    script: Script
    keys: list[str]
    args: list[str | int | float | bytes]


@dataclass(frozen=True, slots=True)
class Limit:
    """0 is no limit."""

    name: str
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as the queue sees it. Times in milliseconds; `tokens` are the prompt's and the expected answer's."""

    session: str
    request_id: str
    attempt: int
    service_class: ServiceClass
    tokens: int
    give_up_after_ms: int
    tenant: str = "default"
    weight: float = 1.0
    prompt_tokens: int = 0
    objective_ms: int = 0
    at_head: bool = False
    excluded_workers: tuple[str, ...] = ()
    model_version: str = ""
    adapter: str = ""
    markers: tuple[str, ...] = ()
    running_on: str = ""
    running_epoch: int = 0
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A heartbeat as the queue sees it; `heartbeat` is the whole frame, kept for operators."""

    worker_id: str
    epoch: int
    state: str
    slots: int
    kv_tokens: int
    model_version: str
    address: str
    heartbeat: bytes
    prefill_tokens_per_s: int = 0
    kv_tokens_used: int = 0
    waiting: int = 0
    adapters: tuple[str, ...] = ()
    loaded_adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolScripts:
    """Builds the calls of one pool for one router replica."""

    keys: PoolKeys
    router_id: str
    composition: Composition

    def submit(self, s: Submission, rules: Rules, *, lease_ms: int, no_worker_grace_ms: int) -> Call:
        of_class = rules.of(s.service_class)
        limits = ((x.name, x.requests_per_minute, x.tokens_per_minute, x.concurrency) for x in s.limits)
        return self._granting(
            "submit",
            rules,
            *(s.session, lease_ms, s.request_id, s.attempt, int(s.service_class), s.tenant, s.weight),
            *(s.prompt_tokens, s.tokens, s.give_up_after_ms, s.objective_ms or of_class.ttft_objective_ms),
            *(int(s.at_head), of_class.max_queued, of_class.max_queued_tokens, _listed(s.excluded_workers)),
            *(s.model_version, s.adapter, " ".join(s.markers), s.running_on, s.running_epoch, no_worker_grace_ms),
            *(part for limit in limits for part in limit),
        )

    def finish(self, request_id: str, attempt: int, rules: Rules, *, actual_tokens: int | None) -> Call:
        """`actual_tokens`: None when the request will be submitted again."""
        return self._granting("finish", rules, request_id, attempt, -1 if actual_tokens is None else actual_tokens)

    def heartbeat(self, w: WorkerReport, rules: Rules, *, lease_ms: int) -> Call:
        return self._granting(
            "heartbeat",
            rules,
            *(w.worker_id, w.epoch, lease_ms, w.state, w.slots, w.kv_tokens, w.kv_tokens_used, w.waiting),
            *(w.model_version, _listed(w.adapters), _listed(w.loaded_adapters), w.address, w.heartbeat),
            w.prefill_tokens_per_s,
        )

    def detach(self, worker_id: str, epoch: int, *, grace_ms: int) -> Call:
        return self._call("detach", worker_id, epoch, grace_ms)

    def renew(self, sessions: list[str], *, lease_ms: int, create: bool = False) -> Call:
        return self._call("renew", lease_ms, int(create), *sessions)

    def reap(self, rules: Rules, *, limit: int, worker_lease_ms: int, spare_ms: int = 0) -> Call:
        """`spare_ms`: time to be heard of, for sessions and workers, after nobody reaped for a while."""
        return self._granting("reap", rules, limit, worker_lease_ms, spare_ms)

    def outlook(self, request_ids: list[str]) -> Call:
        return self._call("outlook", *request_ids)

    def record(self, which: str, replaced: int, fields: dict[str, str]) -> Call:
        """`which`: rollout or rules. `replaced`: the revision that these fields replace."""
        return self._call("record", which, replaced, *(part for field in fields.items() for part in field))

    def journal(self, bounds: Journal, parts: Iterable[pb.LogPart]) -> Call:
        return self._call(
            "journal",
            *(bounds.streams, bounds.tenant_streams, bounds.stream_kib * 1024, int(bounds.keep_s * 1000)),
            *(field for part in parts for field in (part.request_id, part.tenant, part.offset, part.data)),
        )

    def _granting(self, name: str, rules: Rules, *args: str | float | bytes) -> Call:
        """A call of a script that grants: it is told the rules for the classes first."""
        return self._call(name, *rules.arguments, *args)

    def _call(self, name: str, *args: str | float | bytes) -> Call:
        return Call(script(name, self.composition), [self.keys.root], [self.router_id, *args])


def _listed(names: tuple[str, ...]) -> str:
    """As scripts look names up: ",a,b,"."""
    return f",{','.join(names)}," if names else ""
