"""The control service: what operators and the command line ask."""

from typing import Any

import grpc
from redis.exceptions import RedisError

from services.router.census import Census, WorkerRow
from services.router.events import DrainAsked, encode_drain
from services.router.queue import PoolQueue
from services.router.store import Store
from services.router.upkeep import Upkeep
from services.shared.rpc import Context
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceServicer

DEFAULT_DRAIN_MS = 30_000


class Control(ControlServiceServicer):
    def __init__(self, queues: dict[str, PoolQueue], *, store: Store, upkeep: Upkeep, census: Census) -> None:
        self._queues = queues
        self._store = store
        self._upkeep = upkeep
        self._census = census

    async def ListPools(self, request: pb.ListPoolsRequest, context: Context) -> pb.ListPoolsResponse:  # noqa: N802
        await self._refresh(context)
        return pb.ListPoolsResponse(pools=self._census.statuses())

    async def ListWorkers(  # noqa: N802
        self, request: pb.ListWorkersRequest, context: Context
    ) -> pb.ListWorkersResponse:
        await self._refresh(context)
        rows = [row for row in self._census.rows.values() if request.pool in ("", row.pool)]
        return pb.ListWorkersResponse(workers=[_status(worker) for row in rows for worker in row.workers])

    async def DrainWorker(  # noqa: N802
        self, request: pb.DrainWorkerRequest, context: Context
    ) -> pb.DrainWorkerResponse:
        queue = self._queues.get(request.pool)
        if queue is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no pool {request.pool!r}")
        event = DrainAsked(request.worker_id, request.timeout_ms or DEFAULT_DRAIN_MS)
        try:
            known = await self._leave_for_its_router(queue, event)
        except (RedisError, OSError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")
        if not known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no worker {request.worker_id!r} in {request.pool}")
        return pb.DrainWorkerResponse()

    async def _leave_for_its_router(self, queue: PoolQueue, event: DrainAsked) -> bool:
        """The worker may be attached to another replica: its outbox takes the message. False: no such worker."""
        router: Any = await self._store.client.hget(queue.keys.worker + event.worker_id, "router")
        if router is None:
            return False
        await self._store.client.rpush(queue.keys.outbox + router.decode(), encode_drain(event))
        return True

    async def _refresh(self, context: Context) -> None:
        try:
            await self._upkeep.take_census()
        except (RedisError, OSError):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")


def _status(row: WorkerRow) -> pb.WorkerStatus:
    return pb.WorkerStatus(
        heartbeat=row.heartbeat,
        granted=row.granted,
        kv_tokens_reserved=row.kv_reserved,
        heartbeat_age_ms=row.age_ms,
    )
