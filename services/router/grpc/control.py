"""The control service: the calls of operators and of the command line."""

import re
from collections.abc import Awaitable
from typing import TypeVar

import grpc
from redis.exceptions import RedisError

from services.router.core.evaluation_gate import Evaluated, refusal
from services.router.core.events import DrainAsked
from services.router.core.rollout import Request
from services.router.maintenance import Maintenance
from services.router.queue import outbox
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.snapshot import Snapshot, WorkerRow
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.rollout_controller import Asker, Busy, Idle, RolloutController, Standing
from services.router.rollout_lane import Lane
from services.router.rollout_messages import event_message, rollout_message
from services.router.rollout_request import policy_of
from services.router.version_staging import Superseded, VersionStaging
from services.shared.classes import ServiceClass
from services.shared.clock import Clock
from services.shared.config import Cluster
from services.shared.rpc import Context
from services.shared.speculators import reference_of
from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceServicer

DEFAULT_DRAIN_MS = 30_000
MAX_SAID = 1_000
"""Characters that are kept of who asks for something, and of why."""
_VERSION = re.compile(r"[0-9a-f]{64}")

Answer = TypeVar("Answer")
_OfRollout = (
    pb.StartRolloutRequest
    | pb.GetRolloutRequest
    | pb.StopRolloutRequest
    | pb.PauseRolloutRequest
    | pb.ResumeRolloutRequest
    | pb.ListRolloutEventsRequest
)


class ControlService(ControlServiceServicer):
    """Shows pools and workers, drains workers, runs rollouts, changes class rules."""

    def __init__(
        self,
        queues: dict[str, PoolQueue],
        *,
        runner: ScriptRunner,
        maintenance: Maintenance,
        snapshot: Snapshot,
        cluster: Cluster,
        rollouts: RolloutController,
        speculators: RolloutController,
        staging: VersionStaging,
        clock: Clock,
    ) -> None:
        self._staging = staging
        self._clock = clock
        self._queues = queues
        self._cluster = cluster
        self._rollouts, self._speculators = rollouts, speculators
        self._runner = runner
        self._maintenance = maintenance
        self._snapshot = snapshot

    async def ListPools(self, request: pb.ListPoolsRequest, context: Context) -> pb.ListPoolsResponse:  # noqa: N802
        """Every pool with its classes and their rules."""
        await self._refresh(context)
        pools = self._snapshot.statuses()
        for status in pools:
            pool = self._cluster.pool(status.pool.name)
            status.model, status.placement = pool.model, pool.placement
            status.speculator = reference_of(pool.engine) or ""
            rules = self._queues[pool.name].rules
            for row in status.classes:
                row.policy.CopyFrom(rules.of(ServiceClass.of_proto(row.service_class)).message())
        return pb.ListPoolsResponse(pools=pools)

    async def ListWorkers(  # noqa: N802
        self, request: pb.ListWorkersRequest, context: Context
    ) -> pb.ListWorkersResponse:
        """The workers of one pool, or of all."""
        await self._refresh(context)
        rows = [row for row in self._snapshot.rows.values() if request.pool in ("", row.pool)]
        return pb.ListWorkersResponse(workers=[_status(worker) for row in rows for worker in row.workers])

    async def DrainWorker(  # noqa: N802
        self, request: pb.DrainWorkerRequest, context: Context
    ) -> pb.DrainWorkerResponse:
        """Asks a worker to take no more work and to end."""
        queue = await self._queue(request.pool, context)
        event = DrainAsked(request.worker_id, request.timeout_ms or DEFAULT_DRAIN_MS)
        try:
            known = await outbox.send(self._runner, queue.keys, event)
        except (RedisError, OSError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")
        if not known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no worker {request.worker_id!r} in {request.pool}")
        return pb.DrainWorkerResponse()

    async def StartRollout(  # noqa: N802
        self, request: pb.StartRolloutRequest, context: Context
    ) -> pb.StartRolloutResponse:
        """Starts a rollout of a pool."""
        queue = await self._queue(request.pool, context)
        await _check_version(request.model_version, context)
        try:
            mode = SwapMode.of_proto_name(pb.SwapMode.Name(request.mode))
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"mode {request.mode} is not known")
        try:
            policy = policy_of(request, self._cluster.pool(request.pool).rollout)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if reason := self._refusal(request):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
        rollouts = self._lane(request)
        asked = Request(
            request.model_version,
            finish_ms=request.finish_timeout_ms,
            # With its value: status and history show it, and a change of the setting meanwhile changes nothing.
            mode=mode or self._cluster.pool(request.pool).weight_updates.mode,
            policy=policy,
            who=request.who[:MAX_SAID],
            why=request.why[:MAX_SAID],
        )
        started = rollouts.start(queue, asked)
        return pb.StartRolloutResponse(rollout=await self._rollout(queue, started, context, rollouts.lane))

    def _lane(self, request: _OfRollout) -> RolloutController:
        return self._speculators if request.speculator else self._rollouts

    def _refusal(self, request: pb.StartRolloutRequest) -> str | None:
        """Why the version may not be rolled out: its evaluation, or the pool has no speculator."""
        if request.speculator:
            if reference_of(self._cluster.pool(request.pool).engine):
                return None
            return (
                f"pools.{request.pool}.engine.speculation names no speculator of the registry: set method and model"
                " there, and start the cluster again"
            )
        gates = self._cluster.pool(request.pool).gates
        if gates is None or request.without_steps:
            return None
        evaluation = {
            name: Evaluated(measured.value, measured.parent if measured.HasField("parent") else None)
            for name, measured in request.evaluation.items()
        }
        if reason := refusal(evaluation, gates.evaluation):
            self._rollouts.count_refusal(request.pool)
        return reason

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Context) -> pb.GetRolloutResponse:  # noqa: N802
        """The last rollout of a pool."""
        queue = await self._queue(request.pool, context)
        rollouts = self._lane(request)
        return pb.GetRolloutResponse(rollout=await self._rollout(queue, rollouts.last(queue), context, rollouts.lane))

    async def StopRollout(  # noqa: N802
        self, request: pb.StopRolloutRequest, context: Context
    ) -> pb.StopRolloutResponse:
        """Gives the rollout of a pool up."""
        queue = await self._queue(request.pool, context)
        rollouts = self._lane(request)
        stopped = rollouts.stop(queue, _asker(request))
        return pb.StopRolloutResponse(rollout=await self._rollout(queue, stopped, context, rollouts.lane))

    async def PauseRollout(  # noqa: N802
        self, request: pb.PauseRolloutRequest, context: Context
    ) -> pb.PauseRolloutResponse:
        """Lets no other worker of the pool begin to change."""
        queue = await self._queue(request.pool, context)
        rollouts = self._lane(request)
        paused = rollouts.pause(queue, _asker(request))
        return pb.PauseRolloutResponse(rollout=await self._rollout(queue, paused, context, rollouts.lane))

    async def ResumeRollout(  # noqa: N802
        self, request: pb.ResumeRolloutRequest, context: Context
    ) -> pb.ResumeRolloutResponse:
        """Goes on with the rollout of a pool."""
        queue = await self._queue(request.pool, context)
        rollouts = self._lane(request)
        resumed = rollouts.resume(queue, _asker(request))
        return pb.ResumeRolloutResponse(rollout=await self._rollout(queue, resumed, context, rollouts.lane))

    async def ListRolloutEvents(  # noqa: N802
        self, request: pb.ListRolloutEventsRequest, context: Context
    ) -> pb.ListRolloutEventsResponse:
        """What happened in the rollouts of a pool."""
        queue = await self._queue(request.pool, context)
        kept = await _answered(self._lane(request).history(queue), context)
        return pb.ListRolloutEventsResponse(
            events=[event_message(event) for event in kept if event.revision > request.after_revision],
            last_revision=kept[-1].revision if kept else 0,
        )

    async def StageVersion(  # noqa: N802
        self, request: pb.StageVersionRequest, context: Context
    ) -> pb.StageVersionResponse:
        """Has the workers of a pool bring a version to their disks, and says how far they are."""
        queue = await self._queue(request.pool, context)
        await _check_version(request.model_version, context)
        if request.stage_id:
            asked = self._staging.follow(queue, request.stage_id, request.model_version, speculator=request.speculator)
        else:
            asked = self._staging.begin(queue, request.model_version, speculator=request.speculator)
        stage = await _answered(asked, context)
        return pb.StageVersionResponse(
            stage_id=stage.stage_id,
            workers=[_stage_worker(worker.heartbeat, stage.stage_id) for worker in stage.workers],
        )

    async def SetClassPolicy(  # noqa: N802
        self, request: pb.SetClassPolicyRequest, context: Context
    ) -> pb.SetClassPolicyResponse:
        """Changes the rules of a class while the cluster runs."""
        queue = await self._queue(request.pool, context)
        try:
            service_class = ServiceClass.of_proto(request.service_class)
        except ValueError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "service_class is not set")
        try:
            rules = await self._maintenance.change_rules(queue, service_class, request.policy)
        except (RedisUnavailable, RedisError, OSError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")
        return pb.SetClassPolicyResponse(policy=rules.of(service_class).message())

    async def _rollout(self, queue: PoolQueue, asked: Awaitable[Standing], context: Context, lane: Lane) -> pb.Rollout:
        standing = await _answered(asked, context)
        now_ms = int(self._clock.wall() * 1000)
        return rollout_message(queue.pool, standing.record, standing.row, standing.verdict, now_ms, lane)

    async def _queue(self, pool: str, context: Context) -> PoolQueue:
        queue = self._queues.get(pool)
        if queue is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no pool {pool!r} (there are: {', '.join(self._queues)})")
        return queue

    async def _refresh(self, context: Context) -> None:
        try:
            await self._maintenance.take_snapshot()
        except (RedisError, OSError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")


async def _check_version(version: str, context: Context) -> None:
    if not _VERSION.fullmatch(version):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{version!r} is no version: 64 hex digits are")


async def _answered(asked: Awaitable[Answer], context: Context) -> Answer:
    try:
        return await asked
    except (Busy, Superseded) as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except Idle as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
    except (RedisUnavailable, RedisError, OSError):
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")


def _asker(request: pb.StopRolloutRequest | pb.PauseRolloutRequest | pb.ResumeRolloutRequest) -> Asker:
    return Asker(request.who[:MAX_SAID], request.why[:MAX_SAID])


def _stage_worker(beat: pb.Heartbeat, stage_id: str) -> pb.StageWorker:
    staging = beat.staging if beat.staging.stage_id == stage_id else None
    return pb.StageWorker(worker_id=beat.worker_id, state=beat.state, staging=staging)


def _status(row: WorkerRow) -> pb.WorkerStatus:
    return pb.WorkerStatus(
        heartbeat=row.heartbeat,
        granted=row.granted,
        kv_tokens_reserved=row.kv_reserved,
        heartbeat_age_ms=row.age_ms,
    )
