"""Runs rollouts (core/rollout.py): their records are in Redis, and every replica carries each of them on."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter
from redis.exceptions import RedisError

from services.router.core import rollout
from services.router.core.evaluation_gate import FIGURE as EVALUATION
from services.router.core.events import DeliveryAsked, DrainAsked
from services.router.core.figures import Figure
from services.router.core.gate import Decision, Verdict
from services.router.core.rollout import Ending, Order, Request
from services.router.core.rollout_history import Event, event_of
from services.router.core.rollout_record import Member, RolloutRecord, State
from services.router.core.rollout_turn import Timeouts
from services.router.metrics import RouterMetrics
from services.router.queue import outbox
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.snapshot import PoolRow, Snapshot, read_pool
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.rollout_lane import MODEL, SPECULATOR, Lane
from services.shared.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 0.25
CHANGE_TRIES = 20


Judge = Callable[[PoolQueue, RolloutRecord], Awaitable[Verdict | None]]
"""Asks the gate of a pool about the new version of a rollout. None: the pool has no gate, or nothing was compared."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for a change, and why, as that person says."""

    who: str = ""
    why: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.who or "an operator", self.why)))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rollout stands.

    Attributes:
        record: Its record.
        row: The pool's workers.
        verdict: What the pool's gate says; None without a gate, and when nothing was compared.
    """

    record: RolloutRecord
    row: PoolRow
    verdict: Verdict | None = None


class Busy(Exception):
    """Another rollout of this pool is under way."""


class Idle(Exception):
    """No rollout of this pool is under way, or there was none."""


class RolloutController:
    """Starts, stops and carries on the rollouts of all pools.

    Methods raise RedisUnavailable or RedisError when Redis does not answer.
    """

    def __init__(
        self,
        queues: dict[str, PoolQueue],
        *,
        runner: ScriptRunner,
        snapshot: Snapshot,
        metrics: RouterMetrics,
        clock: Clock,
        timeouts: Timeouts,
        judge: Judge | None = None,
        lane: Lane = MODEL,
    ) -> None:
        self._judge, self.lane = judge, lane
        self._queues, self._runner, self._snapshot = queues, runner, snapshot
        self._metrics, self._clock, self._timeouts = metrics, clock, timeouts
        # An alert can see a counter grow, but not a counter that appears.
        for pool in queues:
            for state in State:
                self._rollouts.labels(pool, state)
            for figure in (*Figure, EVALUATION):
                metrics.workers.gate_failures.labels(pool, figure)

    @property
    def _rollouts(self) -> Counter:
        workers = self._metrics.workers
        return workers.speculator_rollouts if self.lane.speculator else workers.rollouts

    def _members(self, row: PoolRow) -> list[Member]:
        return list(map(self.lane.member, row.workers))

    async def carry_on(self) -> None:
        """Moves every pool's rollout on, until cancelled."""
        while True:
            for queue in self._queues.values():
                try:
                    await self.step(queue)
                except (RedisUnavailable, RedisError, OSError) as error:
                    log.warning("rollout of %s waits: %s", queue.pool, error)
            await self._clock.sleep(EVERY_S)

    async def start(self, queue: PoolQueue, asked: Request) -> Standing:
        """Starts a rollout.

        Args:
            queue: The queue of the pool.
            asked: What an operator asks for.

        Raises:
            Busy: A rollout of the pool is under way.
        """
        row = await self._read(queue)
        before = await self.record(queue)
        if before and not before.state.has_ended:
            raise Busy(f"a rollout of {before.target} is {before.state}")
        await self._check_other_lane(queue)
        rollout_id = f"rollout-{secrets.token_hex(6)}"
        begun = rollout.begin(rollout_id, asked, self._members(row), before, now_ms=self._now_ms())
        if not await self._replace(queue, before, begun):
            raise Busy("another rollout has just been started")
        return Standing(begun, row)

    async def _check_other_lane(self, queue: PoolQueue) -> None:
        """A worker that is replaced for the one would be missing to the other."""
        other = MODEL if self.lane.speculator else SPECULATOR
        beside = await _record(self._runner, queue, other)
        if beside and not beside.state.has_ended:
            raise Busy(f"a rollout of the pool's {other.what} to {beside.target} is {beside.state}")

    def count_refusal(self, pool: str) -> None:
        """Counts a version that is not rolled out, because its evaluation is worse."""
        self._metrics.workers.gate_failures.labels(pool, EVALUATION).inc()

    async def stop(self, queue: PoolQueue, asker: Asker) -> Standing:
        """Gives the pool's rollout up: workers that changed go back.

        Raises:
            Idle: No rollout is under way, or it is being undone already.
        """
        return await self._change(
            queue, asker, lambda record: rollout.stop(record, f"stopped by {asker}", self._now_ms())
        )

    async def pause(self, queue: PoolQueue, asker: Asker) -> Standing:
        """No other worker begins to change.

        Raises:
            Idle: No rollout goes forward.
        """
        return await self._change(queue, asker, lambda record: rollout.pause(record, str(asker), self._now_ms()))

    async def resume(self, queue: PoolQueue, asker: Asker) -> Standing:
        """Goes on after a pause.

        Raises:
            Idle: No rollout goes forward.
        """
        return await self._change(queue, asker, lambda record: rollout.resume(record, self._now_ms()))

    async def _change(
        self, queue: PoolQueue, asker: Asker, change: Callable[[RolloutRecord], RolloutRecord]
    ) -> Standing:
        for _ in range(CHANGE_TRIES):
            record = await self.record(queue)
            if record is not None and record.state is State.UNDOING:
                raise Idle(f"the rollout of {record.target} is being undone already: {record.reason}")
            if record is None or record.state.has_ended:
                break
            changed = change(record)
            if changed is record or await self._replace(queue, record, changed, asker):
                return await self._standing(queue, changed)
        raise Idle(f"no rollout of {queue.pool} is under way")

    async def last(self, queue: PoolQueue) -> Standing:
        """How the pool's last rollout stands.

        Raises:
            Idle: There was none.
        """
        if record := await self.record(queue):
            return await self._standing(queue, record)
        raise Idle(f"{queue.pool} has had no rollout")

    async def history(self, queue: PoolQueue) -> list[Event]:
        """What happened in the pool's rollouts, oldest first, as far as it is kept."""
        answer: Any = self._runner.client(queue.keys).lrange(queue.keys.key(self.lane.history), 0, -1)
        documents: list[bytes] = await answer
        return list(map(Event.of_json, documents))

    async def _standing(self, queue: PoolQueue, record: RolloutRecord) -> Standing:
        return Standing(record, await self._read(queue), await self._verdict(queue, record))

    async def _verdict(self, queue: PoolQueue, record: RolloutRecord) -> Verdict | None:
        return await self._judge(queue, record) if self._judge else None

    async def step(self, queue: PoolQueue) -> None:
        """Moves the pool's rollout on by one step, if there is anything to do."""
        if (record := await self.record(queue)) is None:
            return
        members = self._members(await self._row(queue, record))
        verdict = await self._verdict(queue, record) if record.state is State.ROLLING else None
        advanced = rollout.advance(record, members, now_ms=self._now_ms(), timeouts=self._timeouts, verdict=verdict)
        said = Asker(why=_unjudged(record, advanced, members, verdict))
        if advanced is not record and not await self._replace(queue, record, advanced, said):
            return
        self._count_rejection(queue, record, advanced, verdict)
        for order in rollout.orders(advanced, members):
            await outbox.send(self._runner, queue.keys, _event(order, self.lane))

    def _count_rejection(
        self, queue: PoolQueue, before: RolloutRecord, after: RolloutRecord, verdict: Verdict | None
    ) -> None:
        if verdict and verdict.worse and verdict.decision is Decision.FAIL and after.state is not before.state:
            self._metrics.workers.gate_failures.labels(queue.pool, verdict.worse.figure).inc()

    async def _row(self, queue: PoolQueue, record: RolloutRecord) -> PoolRow:
        """A rollout that has ended is only watched. For that the last snapshot is good enough."""
        known = self._snapshot.rows.get(queue.pool)
        return known if known and record.state.has_ended else await self._read(queue)

    async def _read(self, queue: PoolQueue) -> PoolRow:
        return await read_pool(self._runner.client(queue.keys), queue.keys, queue.sizing)

    async def record(self, queue: PoolQueue) -> RolloutRecord | None:
        """The record of the pool's last rollout; None if there was none."""
        return await _record(self._runner, queue, self.lane)

    async def _replace(
        self, queue: PoolQueue, old: RolloutRecord | None, new: RolloutRecord, asker: Asker | None = None
    ) -> bool:
        """False when another replica was first."""
        asker = asker or Asker()
        event = event_of(old, new, now_ms=self._now_ms(), who=asker.who, why=asker.why)
        entry = event.to_json() if event else ""
        if not await queue.replace_record(self.lane.record, old.revision if old else 0, new.to_hash(), entry=entry):
            return False
        if old is None or old.state is not new.state or old.rollout_id != new.rollout_id:
            self._rollouts.labels(queue.pool, new.state).inc()
            log.info("rollout of %s (%s) to %s: %s %s", queue.pool, self.lane.what, new.target, new.state, new.reason)
        for lost in set(new.stranded) - set(old.stranded if old else ()):
            log.error("rollout of %s: %s could not be brought to %s", queue.pool, lost, new.goal)
        return True

    async def start_of(self, queue: PoolQueue, worker_id: str, epoch: int) -> rollout.Start:
        """What a process is to start on that has just attached."""
        return rollout.start_of(await self.record(queue), worker_id, epoch)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _unjudged(before: RolloutRecord, after: RolloutRecord, members: list[Member], verdict: Verdict | None) -> str:
    """For the history: why a step has ended without a verdict of its gate; "" if the gate has spoken."""
    if verdict is None or verdict.decision is Decision.PASS or before.step == after.step:
        return ""
    return rollout.why_unjudged(before, rollout.pool_size(before, members), verdict)


async def _record(runner: ScriptRunner, queue: PoolQueue, lane: Lane) -> RolloutRecord | None:
    answer: Any = runner.client(queue.keys).hgetall(queue.keys.key(lane.record))
    stored: dict[bytes, bytes] = await answer
    return RolloutRecord.of_hash({k.decode(): v.decode() for k, v in stored.items()}) if stored else None


def _event(order: Order | Ending, lane: Lane) -> DeliveryAsked | DrainAsked:
    if isinstance(order, Ending):
        return DrainAsked(order.worker_id, order.finish_timeout_ms)
    return DeliveryAsked(
        order.worker_id, order.delivery_id, order.version, order.finish_timeout_ms, order.mode, lane.speculator
    )
