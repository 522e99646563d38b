"""The Lua scripts, one typed call each. The files under lua/commands say what each guarantees."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from hashlib import sha1
from operator import itemgetter
from typing import Self

from services.router.core.class_rules import Rules
from services.router.core.keys import PoolKeys
from services.router.redis.lua_loader import LUA, ComposedScript, compose, library_file
from services.shared.classes import ServiceClass
from services.shared.config import Pool, ResumeLog
from tidegate.router.v1 import router_pb2 as pb

NAMES = (
    "submit",
    "finish",
    "heartbeat",
    "detach",
    "renew",
    "reap",
    "queue_position",
    "rollout_record",
    "resume_log",
)

Value = str | int | float | bytes


@dataclass(frozen=True, slots=True)
class Composition:
    """The choices that scripts are composed with.

    Attributes:
        policy: The placement policy, a file of lua/policies.
        clock: server, or simulated for simulations and tests.
        overtaking: How often the head of a class may be bypassed; 0 is exact order.
        burst_tokens: Tokens that a tenant may run ahead of its share.
        isolation: Share of its slots to which the isolation pool is filled; 0 is no pool.
    """

    policy: str
    clock: str = "server"
    overtaking: int = 0
    burst_tokens: int = 0
    isolation: float = 0.0

    @classmethod
    def of_pool(cls, pool: Pool, clock: str = "server") -> Self:
        """The choices that tidegate.yaml makes for a pool."""
        return cls(pool.placement, clock, pool.overtaking, pool.burst_tokens, pool.isolation)

    def compose(self, name: str, text: str) -> ComposedScript:
        """Composes a script with these choices. Raises LuaError."""
        settings = {"overtaking": self.overtaking, "burst_tokens": self.burst_tokens, "isolation": self.isolation}
        library = partial(library_file, policy=self.policy, clock=self.clock)
        return compose(name, text, library=library, settings=settings)


@dataclass(frozen=True)
class Script:
    """One script of lua/commands, composed."""

    name: str
    composition: Composition

    @cached_property
    def _composed(self) -> ComposedScript:
        return self.composition.compose(self.name, (LUA / "commands" / f"{self.name}.lua").read_text())

    @property
    def source(self) -> str:
        """The Lua code."""
        return self._composed.source

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments, in order."""
        return self._composed.arguments

    @cached_property
    def sha(self) -> str:
        """The name under which Redis knows the script."""
        # SHA-1 is how Redis names scripts; nothing is secured by it.
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def _in_order(self) -> Callable[[dict[str, Value]], tuple[Value, ...]]:
        return itemgetter(*self.arguments) if len(self.arguments) > 1 else lambda named: tuple(named.values())

    def positions(self, named: dict[str, Value]) -> tuple[Value, ...]:
        """Arguments in the order in which the script reads them.

        Raises:
            TypeError: The script has other arguments.
        """
        try:
            if len(named) == len(self.arguments):
                return self._in_order(named)
        except KeyError:
            pass
        raise TypeError(f"{self.name} takes {self.arguments}, not {tuple(named)}")


@cache
def script(name: str, composition: Composition) -> Script:
    """One of NAMES, composed once for each composition."""
    return Script(name, composition)


@dataclass(frozen=True, slots=True)
class Call:
    """One script call, ready to be sent: `keys` has the pool's root."""

    script: Script
    keys: list[str]
    args: list[Value]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit by name. A value of 0 is no limit."""

    name: str
    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as the queue sees it.

    Attributes:
        tokens: Estimate of the tokens of prompt and answer: the cost.
        give_up_after_ms: Longest wait in the queue.
        weight: Share of the tenant within its class.
        objective_ms: Objective for the time to first token; 0 takes the one of the class.
        at_head: True for work that had its turn before; it goes before all other work of its class.
        model_version: The version that it needs, or "".
        version_optional: It only prefers the version, and takes any while no worker of it has a slot.
        adapter: The adapter that it needs, or "".
        prefix_hashes: See prefix_hashes.py.
        canary: It asks for the version that is on trial, if there is one.
        running_on: The worker that runs it already, or ""; `running_epoch` is that worker's epoch.
    """

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
    version_optional: bool = False
    adapter: str = ""
    prefix_hashes: tuple[str, ...] = ()
    canary: bool = False
    running_on: str = ""
    running_epoch: int = 0
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A heartbeat as the queue sees it.

    Attributes:
        state: loading, ready, draining, stuck or swapping.
        slots: Requests that the worker runs at once.
        kv_tokens: Size of its KV cache in tokens.
        heartbeat: The whole frame, kept for operators.
        prefill_tokens_per_s: Prompt tokens that it computes in a second; 0 is unknown.
        waiting: Requests that wait in its engine.
    """

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


class PoolScripts:
    """Builds the script calls of one pool for one router replica."""

    def __init__(self, keys: PoolKeys, router_id: str, composition: Composition) -> None:
        """Composes every script. Raises LuaError."""
        self._root = keys.root
        self._router_id = router_id
        self._scripts = {name: script(name, composition) for name in NAMES}

    def submit(self, s: Submission, rules: Rules, *, lease_ms: int, no_worker_grace_ms: int) -> Call:
        """Queues or grants a request.

        Args:
            s: The request.
            rules: The class rules of the pool.
            lease_ms: Lease of its gateway session.
            no_worker_grace_ms: How long a pool without workers still queues.
        """
        of_class = rules.of(s.service_class)
        limits = [part for x in s.limits for part in _limit(x)] if s.limits else []
        return self._call(
            "submit",
            rules=rules,
            rest=limits,
            router=self._router_id,
            session=s.session,
            session_lease_ms=lease_ms,
            request_id=s.request_id,
            attempt=s.attempt,
            rank=int(s.service_class),
            tenant=s.tenant,
            weight=s.weight,
            prompt_tokens=s.prompt_tokens,
            tokens=s.tokens,
            give_up_after_ms=s.give_up_after_ms,
            objective_ms=s.objective_ms or of_class.ttft_objective_ms,
            at_head=int(s.at_head),
            max_queued=of_class.max_queued,
            max_queued_tokens=of_class.max_queued_tokens,
            excluded=_listed(s.excluded_workers),
            version=f"?{s.model_version}" if s.version_optional and s.model_version else s.model_version,
            adapter=s.adapter,
            canary=int(s.canary),
            prefix_hashes=" ".join(s.prefix_hashes),
            running_on=s.running_on,
            running_epoch=s.running_epoch,
            no_worker_grace_ms=no_worker_grace_ms,
        )

    def finish(self, request_id: str, attempt: int, rules: Rules, *, actual_tokens: int | None) -> Call:
        """Ends a request.

        Args:
            request_id: The request.
            attempt: The attempt that ended.
            rules: The class rules of the pool.
            actual_tokens: What it really cost; None when it will be submitted again.
        """
        return self._call(
            "finish",
            rules=rules,
            router=self._router_id,
            request_id=request_id,
            attempt=attempt,
            actual_tokens=-1 if actual_tokens is None else actual_tokens,
        )

    def heartbeat(self, w: WorkerReport, rules: Rules, *, lease_ms: int) -> Call:
        """Attaches a worker, or renews its lease of `lease_ms`."""
        return self._call(
            "heartbeat",
            rules=rules,
            router=self._router_id,
            worker_id=w.worker_id,
            epoch=w.epoch,
            lease_ms=lease_ms,
            state=w.state,
            slots=w.slots,
            kv_tokens=w.kv_tokens,
            kv_tokens_used=w.kv_tokens_used,
            waiting=w.waiting,
            version=w.model_version,
            adapters=_listed(w.adapters),
            loaded_adapters=_listed(w.loaded_adapters),
            address=w.address,
            heartbeat=w.heartbeat,
            prefill_tokens_per_s=w.prefill_tokens_per_s,
        )

    def detach(self, worker_id: str, epoch: int, *, grace_ms: int) -> Call:
        """Ends a worker's lease after `grace_ms`, unless it attaches again."""
        return self._call("detach", router=self._router_id, worker_id=worker_id, epoch=epoch, grace_ms=grace_ms)

    def renew(self, sessions: list[str], *, lease_ms: int, create: bool = False) -> Call:
        """Renews the leases of gateway sessions; `create` also stores those that Redis does not know."""
        return self._call("renew", rest=sessions, router=self._router_id, lease_ms=lease_ms, create=int(create))

    def reap(self, rules: Rules, *, limit: int, worker_lease_ms: int, spare_ms: int = 0) -> Call:
        """Removes what time has ended.

        Args:
            rules: The class rules of the pool.
            limit: Work of each kind at most.
            worker_lease_ms: Lease of workers.
            spare_ms: Time for sessions and workers to be heard of after no replica reaped for a while.
        """
        return self._call(
            "reap",
            rules=rules,
            router=self._router_id,
            limit=limit,
            worker_lease_ms=worker_lease_ms,
            spare_ms=spare_ms,
        )

    def queue_position(self, request_ids: list[str]) -> Call:
        """Asks for the positions of queued requests."""
        return self._call("queue_position", rest=request_ids)

    def replace_record(
        self, record: str, replaces: int, fields: dict[str, str], rules: Rules, *, entry: str = "", kept: int = 1
    ) -> Call:
        """Replaces a record of the pool.

        Args:
            record: rollout, speculator or rules.
            replaces: The revision that is replaced; 0 if there is none.
            fields: The new record.
            rules: The class rules of the pool.
            entry: What the history of rollouts keeps of it, as JSON; "" for nothing.
            kept: Entries that the history keeps.
        """
        parts = (part for field in fields.items() for part in field)
        return self._call(
            "rollout_record", rules=rules, rest=parts, record=record, replaces=replaces, entry=entry, kept=kept
        )

    def append_log(self, bounds: ResumeLog, parts: Iterable[pb.LogPart]) -> Call:
        """Appends parts to resume logs, within the bounds of the pool."""
        return self._call(
            "resume_log",
            rest=(field for part in parts for field in (part.request_id, part.tenant, part.offset, part.data)),
            max_logs=bounds.streams,
            max_tenant_logs=bounds.tenant_streams,
            max_bytes=bounds.stream_kib * 1024,
            keep_ms=int(bounds.keep_s * 1000),
        )

    def _call(self, name: str, *, rules: Rules | None = None, rest: Iterable[Value] = (), **named: Value) -> Call:
        """Makes a call with named arguments and with those of `rules`; the arguments `rest` follow all of them."""
        if rules:
            named.update(rules.arguments)
        called = self._scripts[name]
        return Call(called, [self._root], [*called.positions(named), *rest])


def _limit(x: Limit) -> tuple[str, int, int, int]:
    return x.name, x.requests_per_minute, x.tokens_per_minute, x.concurrency


def _listed(names: tuple[str, ...]) -> str:
    """As scripts look names up: ",a,b,"."""
    return f",{','.join(names)}," if names else ""
