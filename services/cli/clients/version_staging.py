"""Versions that workers stage ahead of a rollout: begin it through the router, and follow it."""

import asyncio
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from services.cli.clients.control import ANSWER_LIMIT_S, NoRouter, call
from services.cli.errors import CommandFailed
from tidegate.router.v1 import router_pb2 as pb

POLL_S = 0.5
SILENCE_LIMIT_S = 30.0
"""Routers may restart meanwhile. After this time without an answer, the command gives up; the workers go on."""
STANDSTILL_LIMIT_S = 600.0
"""Hashing a large file that is on the disk already shows no progress. After this time without any, it gives up."""


class StagingWorker(BaseModel):
    """One worker. `phase` is fetching, staged or failed, and empty before it has begun; sizes are in bytes."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: str
    phase: str
    staged_bytes: int
    total_bytes: int
    reason: str

    @classmethod
    def of(cls, worker: pb.StageWorker) -> "StagingWorker":
        """From the proto message."""
        staging = worker.staging
        phase = pb.StagingPhase.Name(staging.phase).removeprefix("STAGING_PHASE_").lower()
        return cls(
            id=worker.worker_id,
            state=pb.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower(),
            phase=phase if staging.phase else "",
            staged_bytes=staging.staged_bytes,
            total_bytes=staging.total_bytes,
            reason=staging.reason,
        )

    @property
    def has_ended(self) -> bool:
        """Whether it has the version, or cannot have it."""
        return self.phase in ("staged", "failed")


class Staging(BaseModel):
    """A version that the workers of a pool stage."""

    model_config = ConfigDict(frozen=True)

    id: str
    pool: str
    version: str
    workers: tuple[StagingWorker, ...]
    speculator: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether no worker is still at it."""
        return all(worker.has_ended for worker in self.workers)

    def check(self) -> None:
        """Raises CommandFailed when a worker could not stage the version; it names them."""
        if failed := [f"{worker.id}: {worker.reason}" for worker in self.workers if worker.phase == "failed"]:
            raise CommandFailed("\n".join((f"{self.version[:12]} is not staged on every worker", *failed)))


async def begin(routers: Sequence[str], pool: str, version: str, *, speculator: bool = False) -> Staging:
    """Has every worker of a pool stage a version, in place of what they staged before.

    Raises:
        CommandFailed: No router answers, or the pool has no worker.
    """
    staging = await _ask(routers, pool, version, "", speculator=speculator)
    if not staging.workers:
        raise CommandFailed(f"{pool} has no worker")
    return staging


async def follow(routers: Sequence[str], staging: Staging, changed: Callable[[Staging], None]) -> Staging:
    """Polls until every worker has the version, or cannot have it.

    Args:
        routers: host:port of each router.
        staging: What `begin` returned.
        changed: Called after each poll.

    Raises:
        NoRouter: No router has answered for SILENCE_LIMIT_S.
        CommandFailed: Another call has begun since, for another version or after a failure; or no worker has gone on
            for STANDSTILL_LIMIT_S.
    """
    heard_at = moved_at = _now()
    while not staging.has_ended:
        await asyncio.sleep(POLL_S)
        try:
            later, heard_at = (
                await _ask(routers, staging.pool, staging.version, staging.id, speculator=staging.speculator),
                _now(),
            )
        except NoRouter:
            if _now() - heard_at > SILENCE_LIMIT_S:
                raise
            continue
        moved_at = heard_at if later != staging else moved_at
        if heard_at - moved_at > STANDSTILL_LIMIT_S:
            waiting = ", ".join(f"{worker.id} ({worker.state})" for worker in later.workers if not worker.has_ended)
            raise CommandFailed(f"no progress for {STANDSTILL_LIMIT_S:.0f} s: {waiting}")
        staging = later
        changed(staging)
    return staging


async def _ask(routers: Sequence[str], pool: str, version: str, stage_id: str, *, speculator: bool) -> Staging:
    request = pb.StageVersionRequest(pool=pool, model_version=version, stage_id=stage_id, speculator=speculator)
    response = await call(routers, lambda stub: stub.StageVersion(request, timeout=ANSWER_LIMIT_S))
    workers = sorted(map(StagingWorker.of, response.workers), key=lambda worker: worker.id)
    return Staging(id=response.stage_id, pool=pool, version=version, workers=tuple(workers), speculator=speculator)


def _now() -> float:
    return asyncio.get_running_loop().time()
