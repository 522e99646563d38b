"""The state of a pool as Redis has it, read for catalog, metrics and operators. It never decides order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from services.router.core.class_rules import Rules
from services.router.core.keys import PoolKeys
from services.router.core.sizing import Sizing
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb

# Workers of a pool whose addresses gateways are told.
ADDRESSES = 8


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker.

    Attributes:
        state: loading, ready, draining, stuck, swapping or detached.
        granted: Requests granted to it.
        kv_reserved: KV cache, in tokens, that these requests are estimated to need.
        age_ms: Time since its last heartbeat.
    """

    heartbeat: pb.Heartbeat
    state: str
    granted: int
    kv_reserved: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class of a pool. `queued_tokens` is an estimate."""

    queued: int = 0
    queued_tokens: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool. `pace_ms`: time between grants while requests wait; 0 when none had to wait."""

    pool: str
    workers: tuple[WorkerRow, ...]
    classes: dict[ServiceClass, ClassRow]
    pace_ms: float = 0.0
    sizing: Sizing = field(default_factory=Sizing)

    def expected_wait_ms(self, service_class: ServiceClass) -> int:
        """How long a request that comes now would wait."""
        before = sum(row.queued for c, row in self.classes.items() if c <= service_class)
        return int((before + 1) * self.pace_ms) if before else 0

    @property
    def desired_workers(self) -> int:
        """Workers that the pool should have now."""
        slots = [worker.heartbeat.capacity.slots for worker in self.workers]
        return self.sizing.desired(slots, self.granted, {c: row.queued for c, row in self.classes.items()})

    @property
    def kv_use(self) -> float:
        """Share of the KV cache of all workers that running requests use; 0 without workers."""
        total = sum(worker.heartbeat.capacity.kv_tokens for worker in self.workers)
        used = sum(worker.heartbeat.load.kv_tokens_used for worker in self.workers)
        return used / total if total else 0.0

    @property
    def granted(self) -> int:
        """Requests granted and not ended."""
        return sum(worker.granted for worker in self.workers)

    @property
    def ready(self) -> list[WorkerRow]:
        """The workers that take requests."""
        return [worker for worker in self.workers if worker.state == "ready"]


@dataclass(slots=True)
class Snapshot:
    """The latest rows of every pool, and the catalog that follows from them."""

    rows: dict[str, PoolRow] = field(default_factory=dict)
    catalog: pb.Catalog = field(default_factory=pb.Catalog)
    # What pools served when they last had a worker.
    _served: dict[str, pb.Pool] = field(default_factory=dict)

    def update(self, rows: list[PoolRow], rules: Mapping[str, Rules]) -> bool:
        """Takes over new rows, and the rules of each pool. Returns True when the catalog changed."""
        self.rows = {row.pool: row for row in rows}
        fresh = pb.Catalog(pools=[self._entry(row) for row in rows])
        for pool in fresh.pools:
            of_pool = rules[pool.name]
            pool.ttft_objectives_ms.extend(
                of_pool.of(service_class).ttft_objective_ms for service_class in ServiceClass
            )
        changed = fresh != self.catalog
        self.catalog = fresh
        return changed

    def _entry(self, row: PoolRow) -> pb.Pool:
        """The pool as gateways see it. Without workers it keeps its adapters: they come back with one."""
        entry = _pool(row)
        if any(worker.heartbeat.model_version for worker in row.workers):
            self._served[row.pool] = entry
            return entry
        known = self._served.get(row.pool) or pb.Pool(adapters=row.sizing.adapters)
        entry.context_tokens, entry.created = known.context_tokens, known.created
        del entry.adapters[:], entry.refused_adapters[:]
        entry.adapters.extend(known.adapters)
        entry.refused_adapters.extend(known.refused_adapters)
        return entry

    def statuses(self) -> list[pb.PoolStatus]:
        """Every pool as operators see it."""
        return [_status(row) for row in self.rows.values()]


async def read_pool(client: Redis, keys: PoolKeys, sizing: Sizing) -> PoolRow:
    """Reads one pool.

    Raises:
        RedisError: Redis did not answer.
    """
    first = client.pipeline(transaction=False)
    first.zrange(keys.key("workers"), 0, -1)
    first.time()
    first.hgetall(keys.key("turns"))
    for service_class in ServiceClass:
        first.zcard(keys.queue(service_class))
        first.zcard(keys.running(service_class))
    ids, (seconds, micros), turns, *counts = await first.execute()
    second = client.pipeline(transaction=False)
    for worker_id in (raw.decode() for raw in ids):
        second.hmget(keys.key("worker:", worker_id), ["heartbeat", "state", "kv_reserved", "beat_ms"])
        second.scard(keys.key("held:", worker_id))
    answers = await second.execute()
    now_ms = seconds * 1000 + micros // 1000
    workers = (_worker(fields, held, now_ms) for fields, held in zip(answers[::2], answers[1::2], strict=True))
    return PoolRow(
        pool=keys.pool,
        workers=tuple(w for w in workers if w),
        classes=_classes(turns, counts),
        pace_ms=float(turns.get(b"pace", 0)),
        sizing=sizing,
    )


def _classes(turns: dict[bytes, bytes], counts: list[int]) -> dict[ServiceClass, ClassRow]:
    """`counts`: queued and running requests, for one class after another."""
    tokens = [int(turns.get(b"tokens%d" % c, 0)) for c in ServiceClass]
    rows = zip(counts[::2], tokens, counts[1::2], strict=True)
    return {c: ClassRow(*row) for c, row in zip(ServiceClass, rows, strict=True)}


def _worker(fields: list[Any], held: int, now_ms: int) -> WorkerRow | None:
    """None for a worker that is known only from a gateway's report and has not attached yet."""
    heartbeat, state, reserved, beat_ms = fields
    if heartbeat is None:
        return None
    return WorkerRow(
        heartbeat=pb.Heartbeat.FromString(heartbeat),
        state=state.decode(),
        granted=held,
        kv_reserved=int(reserved or 0),
        age_ms=max(0, now_ms - int(beat_ms)),
    )


def _pool(row: PoolRow) -> pb.Pool:
    beats = [worker.heartbeat for worker in row.workers]
    adapters = {adapter for beat in beats for adapter in beat.adapters}
    refused = {adapter.name: adapter for beat in beats for adapter in beat.refused_adapters}
    return pb.Pool(
        name=row.pool,
        context_tokens=min((beat.context_tokens for beat in beats), default=0),
        model_versions=sorted({beat.model_version for beat in beats if beat.model_version}),
        adapters=sorted(adapters),
        # An epoch is the moment, in nanoseconds, at which its worker process began.
        created=min((beat.epoch // 1_000_000_000 for beat in beats), default=0),
        ready_workers=len(row.ready),
        worker_addresses=[worker.heartbeat.address for worker in row.ready[:ADDRESSES]],
        refused_adapters=[refused[name] for name in sorted(refused.keys() - adapters)],
        embeds=row.sizing.embeds,
    )


def _status(row: PoolRow) -> pb.PoolStatus:
    return pb.PoolStatus(
        pool=_pool(row),
        classes=[_class(row, service_class) for service_class in row.classes],
        granted=row.granted,
        desired_workers=row.desired_workers,
    )


def _class(row: PoolRow, service_class: ServiceClass) -> pb.ClassStatus:
    counts = row.classes[service_class]
    return pb.ClassStatus(
        service_class=service_class.proto,
        queued=counts.queued,
        queued_tokens=max(0, counts.queued_tokens),
        running=counts.running,
        expected_wait_ms=row.expected_wait_ms(service_class),
    )
