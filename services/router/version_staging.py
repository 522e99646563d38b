"""Stages versions ahead of their rollouts: asks every worker of a pool, through the replica that it is attached to.

Redis has the version that a pool stages, one at most. Whoever follows it asks again those workers that do not report
it, such as one that was started anew.
"""

import logging
import secrets
from dataclasses import dataclass
from typing import Any

from services.router.core.events import StageAsked, encode_event
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.snapshot import WorkerRow, read_pool
from services.router.redis.script_runner import ScriptRunner
from services.router.rollout_controller import OUTBOX_TTL_S

log = logging.getLogger(__name__)

KEPT_S = 24 * 3600
"""Seconds for which the routers know what a pool stages, after it was last asked about."""


class Superseded(Exception):
    """The pool stages another version by now, or the routers have forgotten this one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A version that a pool stages, and the pool's workers."""

    stage_id: str
    workers: tuple[WorkerRow, ...]


class VersionStaging:
    """Begins and follows stages. Methods raise RedisError when Redis does not answer."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def begin(self, queue: PoolQueue, version: str) -> Stage:
        """Has all workers of a pool stage a version, in place of what they staged before."""
        stage_id = f"stage-{secrets.token_hex(6)}"
        log.info("%s stages %s", queue.pool, version)
        await self._runner.client(queue.keys).set(queue.keys.key("stage"), f"{stage_id} {version}", ex=KEPT_S)
        return await self._ask(queue, stage_id, version)

    async def follow(self, queue: PoolQueue, stage_id: str, version: str) -> Stage:
        """How far the workers are. Those that have not begun are asked again.

        Raises:
            Superseded: The pool stages another version.
        """
        client, key = self._runner.client(queue.keys), queue.keys.key("stage")
        answer: Any = client.getex(key, ex=KEPT_S)
        kept: bytes | None = await answer
        if kept is None or kept.decode() != f"{stage_id} {version}":
            now = kept.decode().partition(" ")[2] if kept else "none"
            raise Superseded(f"{queue.pool} does not stage {version} any more (the last one: {now})")
        return await self._ask(queue, stage_id, version)

    async def _ask(self, queue: PoolQueue, stage_id: str, version: str) -> Stage:
        client, keys = self._runner.client(queue.keys), queue.keys
        row = await read_pool(client, keys, queue.sizing)
        attached = tuple(worker for worker in row.workers if worker.state != "detached")
        for worker in attached:
            if worker.heartbeat.staging.stage_id == stage_id:
                continue
            answer: Any = client.hget(keys.key("worker:", worker.heartbeat.worker_id), "router")
            router: bytes | None = await answer
            if router is None:
                continue
            outbox = keys.key("outbox:", router.decode())
            pipeline = client.pipeline(transaction=False)
            pipeline.rpush(outbox, encode_event(StageAsked(worker.heartbeat.worker_id, stage_id, version)))
            pipeline.expire(outbox, OUTBOX_TTL_S)
            await pipeline.execute()
        return Stage(stage_id, attached)
