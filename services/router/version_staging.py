"""Stages versions ahead of their rollouts: asks every worker of a pool, through the replica that it is attached to.

Redis has the version that a pool stages, one at most. Whoever follows it asks again those workers that do not report
it, such as one that was started anew.
"""

import logging
import secrets
from dataclasses import dataclass
from typing import Any

from services.router.core.events import StageAsked
from services.router.queue import outbox
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.snapshot import WorkerRow, read_pool
from services.router.redis.script_runner import ScriptRunner
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

KEPT_S = 24 * 3600
"""Seconds for which the routers know what a pool stages, after it was last asked about."""


class Superseded(Exception):
    """Another stage of the pool has begun since, or the routers have forgotten this one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A version that a pool stages, and the pool's workers."""

    stage_id: str
    workers: tuple[WorkerRow, ...]


class VersionStaging:
    """Begins and follows stages. Methods raise RedisError when Redis does not answer."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def begin(self, queue: PoolQueue, version: str, *, speculator: bool = False) -> Stage:
        """Has all workers of a pool stage a version, in place of what they staged before.

        speculator: the version is one of the pool's speculator.

        If they stage it already, this is the same stage, unless a worker has failed: then all try again.
        """
        stage_id, now = await self._kept(queue)
        if now == version:
            stage = await self._ask(queue, stage_id, version, speculator=speculator)
            if not any(_has_failed(worker, stage_id) for worker in stage.workers):
                return stage
        stage_id = f"stage-{secrets.token_hex(6)}"
        log.info("%s stages %s", queue.pool, version)
        await self._runner.client(queue.keys).set(queue.keys.key("stage"), f"{stage_id} {version}", ex=KEPT_S)
        return await self._ask(queue, stage_id, version, speculator=speculator)

    async def follow(self, queue: PoolQueue, stage_id: str, version: str, *, speculator: bool = False) -> Stage:
        """How far the workers are. Those that have not begun are asked again.

        Raises:
            Superseded: Another stage has begun since.
        """
        kept_id, now = await self._kept(queue)
        if (kept_id, now) != (stage_id, version):
            why = f"another call has begun since, for {now}" if now else "the routers know nothing of it any more"
            raise Superseded(f"this call no longer stages {version} in {queue.pool}: {why}")
        return await self._ask(queue, stage_id, version, speculator=speculator)

    async def _kept(self, queue: PoolQueue) -> tuple[str, str]:
        """Id and version of what the pool stages; ("", "") for nothing."""
        answer: Any = self._runner.client(queue.keys).getex(queue.keys.key("stage"), ex=KEPT_S)
        kept: bytes | None = await answer
        stage_id, _, version = kept.decode().partition(" ") if kept else ("", "", "")
        return stage_id, version

    async def _ask(self, queue: PoolQueue, stage_id: str, version: str, *, speculator: bool) -> Stage:
        row = await read_pool(self._runner.client(queue.keys), queue.keys, queue.sizing)
        attached = tuple(worker for worker in row.workers if worker.state != "detached")
        for worker in attached:
            if worker.heartbeat.staging.stage_id != stage_id:
                asked = StageAsked(worker.heartbeat.worker_id, stage_id, version, speculator)
                await outbox.send(self._runner, queue.keys, asked)
        return Stage(stage_id, attached)


def _has_failed(worker: WorkerRow, stage_id: str) -> bool:
    staging = worker.heartbeat.staging
    return staging.stage_id == stage_id and staging.phase == pb.STAGING_PHASE_FAILED
