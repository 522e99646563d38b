"""What stands in Redis, read now and then for catalog, metrics and operators. Never used to decide order."""

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from services.router.keys import PoolKeys
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb


@dataclass(frozen=True, slots=True)
class WorkerRow:
    heartbeat: pb.Heartbeat
    state: str
    granted: int
    kv_reserved: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class PoolRow:
    pool: str
    workers: tuple[WorkerRow, ...]
    queued: dict[ServiceClass, int]

    @property
    def granted(self) -> int:
        return sum(worker.granted for worker in self.workers)

    @property
    def ready(self) -> list[WorkerRow]:
        return [worker for worker in self.workers if worker.state == "ready"]


@dataclass(slots=True)
class Census:
    """The latest rows of every pool, and the catalog that follows from them."""

    rows: dict[str, PoolRow] = field(default_factory=dict)
    catalog: pb.Catalog = field(default_factory=pb.Catalog)

    def update(self, rows: list[PoolRow]) -> bool:
        """True when the catalog changed."""
        self.rows = {row.pool: row for row in rows}
        fresh = pb.Catalog(pools=[_pool(row) for row in rows])
        changed = fresh != self.catalog
        self.catalog = fresh
        return changed

    def statuses(self) -> list[pb.PoolStatus]:
        return [_status(row) for row in self.rows.values()]


async def count(client: Redis, keys: PoolKeys) -> PoolRow:
    """Raises RedisError."""
    first = client.pipeline(transaction=False)
    first.zrange(keys.workers, 0, -1)
    first.time()
    for service_class in ServiceClass:
        first.zcard(keys.queue(service_class))
    ids, (seconds, micros), *queued = await first.execute()
    second = client.pipeline(transaction=False)
    for worker_id in (raw.decode() for raw in ids):
        second.hmget(keys.worker + worker_id, ["heartbeat", "state", "kv_reserved", "beat_ms"])
        second.scard(keys.held + worker_id)
    answers = await second.execute()
    now_ms = seconds * 1000 + micros // 1000
    workers = (_worker(fields, held, now_ms) for fields, held in zip(answers[::2], answers[1::2], strict=True))
    return PoolRow(keys.pool, tuple(w for w in workers if w), dict(zip(ServiceClass, queued, strict=True)))


def _worker(fields: list[Any], held: int, now_ms: int) -> WorkerRow | None:
    """None for a worker that requests were adopted for and that has not attached yet."""
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
    return pb.Pool(
        name=row.pool,
        context_tokens=min((beat.context_tokens for beat in beats), default=0),
        model_versions=sorted({beat.model_version for beat in beats if beat.model_version}),
        adapters=sorted({adapter for beat in beats for adapter in beat.adapters}),
        # An epoch is the moment, in nanoseconds, at which its worker process began.
        created=min((beat.epoch // 1_000_000_000 for beat in beats), default=0),
        ready_workers=len(row.ready),
    )


def _status(row: PoolRow) -> pb.PoolStatus:
    classes = [pb.ClassStatus(service_class=c.proto, queued=n) for c, n in row.queued.items()]
    return pb.PoolStatus(pool=_pool(row), classes=classes, granted=row.granted)
