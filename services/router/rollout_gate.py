"""The gates of all pools: collects what requests come to while a rollout runs, and judges the new version by it.

Counters lie in Redis, so any replica judges alike, and one that dies takes only the requests of the last moment with
it. Without a rollout nothing is counted.
"""

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from redis.exceptions import RedisError

from services.router.core.figures import Answer, Figures, window_of
from services.router.core.gate import Decision, Verdict, judge
from services.router.core.rollout_record import RolloutRecord, State
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.snapshot import Snapshot
from services.router.redis.script_runner import ScriptRunner
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.config import Cluster
from services.shared.gates import Gates
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

JUDGE_EVERY_S = 1.0
KEEP_S = 86_400
"""How long figures can be read after the last request that was counted."""
CLOSE_AFTER_S = 5.0
"""Nothing more is counted when so long nobody has asked for a verdict: the rollout has ended, or Redis is away."""
OPENED = "opened_ms"
_UNOPENED = Verdict(Decision.WAIT, "no worker has served the version beside the previous one yet")


@dataclass(slots=True)
class _Comparison:
    """One pool's comparison as this replica takes part in it.

    Attributes:
        counted: Counters to add in Redis, by version (old or new) and class.
        loads: Requests on each worker, as last read.
        verdict: The last one, from `judged_at`. It was last asked for at `asked_at`, on the monotonic clock.
    """

    rollout_id: str
    sides: dict[str, str]
    opened_ms: int
    counted: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    loads: dict[str, int] = field(default_factory=dict)
    verdict: Verdict = _UNOPENED
    judged_at: float = float("-inf")
    asked_at: float = float("-inf")


class RolloutGate:
    """Counts and judges. Methods that are awaited raise RedisError or OSError when Redis does not answer."""

    def __init__(self, runner: ScriptRunner, snapshot: Snapshot, cluster: Cluster, clock: Clock) -> None:
        self._runner, self._snapshot, self._cluster, self._clock = runner, snapshot, cluster, clock
        self._open: dict[str, _Comparison] = {}

    def count(self, finish: pb.Finish) -> None:
        """Counts a request that ended, if a rollout of its pool compares versions."""
        comparison = self._open.get(finish.pool)
        if comparison is None or not finish.HasField("served"):
            return
        if self._clock.monotonic() - comparison.asked_at > CLOSE_AFTER_S:
            del self._open[finish.pool]
        elif side := comparison.sides.get(finish.served.model_version):
            answer = _answer(finish, comparison.loads.get(finish.served.worker_id, 0))
            elapsed_s = self._clock.wall() - comparison.opened_ms / 1000
            comparison.counted[side, answer.service_class].update(answer.fields(window_of(elapsed_s)))

    async def judge(self, queue: PoolQueue, record: RolloutRecord) -> Verdict | None:
        """The verdict on a rollout.

        One that goes forward is judged every JUDGE_EVERY_S seconds. Of one that does not, this is how its figures
        stand, for KEEP_S seconds.

        Args:
            queue: The queue of the pool.
            record: The pool's rollout.

        Returns:
            None when the pool has no gate, the rollout brings no other version, or nothing was compared before it
            ended.
        """
        bounds = self._cluster.pool(queue.pool).gates
        if bounds is None or record.previous in ("", record.target):
            return None
        if record.state is not State.ROLLING:
            self._open.pop(queue.pool, None)
            opened_ms = await self._opened_ms(queue, record.rollout_id)
            return await self._judged(queue, record.rollout_id, opened_ms, bounds) if opened_ms else None
        comparison = await self._comparison(queue, record)
        if comparison is None:
            return _UNOPENED
        now = comparison.asked_at = self._clock.monotonic()
        row = self._snapshot.rows.get(queue.pool)
        comparison.loads = {worker.heartbeat.worker_id: worker.granted for worker in (row.workers if row else ())}
        await self._add(queue, comparison)
        if now - comparison.judged_at >= JUDGE_EVERY_S:
            comparison.verdict = await self._judged(queue, record.rollout_id, comparison.opened_ms, bounds)
            comparison.judged_at = now
        return comparison.verdict

    async def _comparison(self, queue: PoolQueue, record: RolloutRecord) -> _Comparison | None:
        """The open comparison; it opens when the first worker serves the target."""
        known = self._open.get(queue.pool)
        if known and known.rollout_id == record.rollout_id:
            return known
        opened_ms = await self._opened_ms(queue, record.rollout_id)
        if not opened_ms:
            row = self._snapshot.rows.get(queue.pool)
            if row is None or not any(worker.heartbeat.model_version == record.target for worker in row.ready):
                return None
            opened_ms = await self._begin(queue, record.rollout_id)
        sides = {record.previous: "old", record.target: "new"}
        self._open[queue.pool] = opened = _Comparison(record.rollout_id, sides, opened_ms)
        return opened

    async def _opened_ms(self, queue: PoolQueue, rollout_id: str) -> int:
        """0 before the comparison."""
        answer: Any = self._runner.client(queue.keys).hget(queue.keys.key("gates:", rollout_id), OPENED)
        return int(await answer or 0)

    async def _begin(self, queue: PoolQueue, rollout_id: str) -> int:
        """Notes the moment, unless another replica has. Returns the moment that is noted."""
        key = queue.keys.key("gates:", rollout_id)
        pipeline = self._runner.client(queue.keys).pipeline(transaction=True)
        pipeline.hsetnx(key, OPENED, str(int(self._clock.wall() * 1000)))
        pipeline.expire(key, KEEP_S)
        pipeline.hget(key, OPENED)
        *_, opened_ms = await pipeline.execute()
        return int(opened_ms)

    async def _add(self, queue: PoolQueue, comparison: _Comparison) -> None:
        """Adds the counters to those in Redis. If it fails they are lost: twice would be worse than not at all."""
        counted, comparison.counted = comparison.counted, defaultdict(Counter)
        if not counted:
            return
        pipeline = self._runner.client(queue.keys).pipeline(transaction=True)
        for (side, service_class), counter in counted.items():
            key = _key(queue, comparison.rollout_id, side, service_class)
            for name, times in counter.items():
                pipeline.hincrby(key, name, times)
            pipeline.expire(key, KEEP_S)
        pipeline.expire(queue.keys.key("gates:", comparison.rollout_id), KEEP_S)
        try:
            await pipeline.execute()
        except (RedisError, OSError):
            log.warning("requests of a rollout are not counted", extra={"pool": queue.pool})
            raise

    async def _judged(self, queue: PoolQueue, rollout_id: str, opened_ms: int, bounds: Gates) -> Verdict:
        names = [(side, service_class.label) for side in ("old", "new") for service_class in ServiceClass]
        pipeline = self._runner.client(queue.keys).pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(_key(queue, rollout_id, *name))
        answers: list[dict[bytes, bytes]] = await pipeline.execute()
        sides: dict[str, dict[str, Figures]] = {"old": {}, "new": {}}
        for (side, service_class), stored in zip(names, answers, strict=True):
            if stored:
                texts = {name.decode(): count.decode() for name, count in stored.items()}
                sides[side][service_class] = Figures.of_hash(texts)
        idle = not (sides["old"] or sides["new"]) and self._is_idle(queue)
        return replace(judge(sides["old"], sides["new"], bounds), opened_ms=opened_ms, idle=idle)

    def _is_idle(self, queue: PoolQueue) -> bool:
        """Whether no request of the pool runs or waits."""
        row = self._snapshot.rows.get(queue.pool)
        return row is not None and not row.granted and not any(each.queued for each in row.classes.values())


def _key(queue: PoolQueue, rollout_id: str, side: str, service_class: str) -> str:
    return queue.keys.key("gates:", f"{rollout_id}:{side}:{service_class}")


def _answer(finish: pb.Finish, load: int) -> Answer:
    served = finish.served
    return Answer(
        _label(served.service_class),
        failed=served.failed,
        ttft_s=served.first_token_us / 1e6 or None,
        tpot_s=served.token_us / 1e6 or None,
        tokens=served.choice_tokens or None,
        structured=served.structured,
        broken=served.broken,
        load=load,
        prefill=max(0, finish.prompt_tokens - finish.cached_tokens),
    )


def _label(service_class: "pb.ServiceClass.ValueType") -> str:
    try:
        return ServiceClass.of_proto(service_class).label
    except ValueError:
        return ServiceClass.DEFAULT.label
