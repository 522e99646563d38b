"""Single calls to the routers: the state of the cluster, and resume logs. Any replica can answer them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc

from services.shared import rpc
from services.shared.certificates import Tls
from services.shared.errors import StoreUnavailable
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub, RouterServiceStub

# For all calls to one replica together.
TIMEOUT_S = 2.0
MAX_TRIES = 3

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Pools, workers and rollouts as the routers know them.

    Args:
        rollouts: by pool, the last one; pools that never had one are missing.
    """

    pools: Sequence[pb.PoolStatus]
    workers: Sequence[pb.WorkerStatus]
    rollouts: dict[str, pb.Rollout]


class ControlClient:
    """Calls one router replica after another until one answers; the next call begins with that one.

    Args:
        addresses: of all replicas, host:port.
    """

    def __init__(self, addresses: Sequence[str], tls: Tls | None = None) -> None:
        self._addresses, self._tls = deque(addresses), tls

    async def status(self) -> ClusterStatus:
        """Returns the state of the cluster.

        Raises:
            StoreUnavailable: no replica answers.
        """
        return await self._ask(_status)

    async def rollout_events(self, pool: str, after_revision: int) -> pb.ListRolloutEventsResponse:
        """Returns what happened in the rollouts of a pool after a revision of its record, as far as it is kept.

        Raises:
            StoreUnavailable: no replica answers.
        """
        request = pb.ListRolloutEventsRequest(pool=pool, after_revision=after_revision)
        return await self._ask(lambda channel: _events(channel, request))

    async def read_log(self, pool: str, request_id: str) -> bytes | None:
        """Returns the resume log of a stream, whichever gateway wrote it; None when there is none.

        Raises:
            StoreUnavailable: no replica answers.
        """
        request = pb.ReadLogRequest(pool=pool, request_id=request_id)
        return await self._ask(lambda channel: _log(channel, request))

    async def _ask(self, ask: Callable[[grpc.aio.Channel], Awaitable[Reply]]) -> Reply:
        for _ in range(min(MAX_TRIES, len(self._addresses))):
            try:
                async with asyncio.timeout(TIMEOUT_S), rpc.channel(self._addresses[0], self._tls) as channel:
                    return await ask(channel)
            except (grpc.aio.AioRpcError, TimeoutError):
                self._addresses.rotate(-1)
        raise StoreUnavailable("No router answers now. Please try again.", retry_after_s=1.0)


async def _status(channel: grpc.aio.Channel) -> ClusterStatus:
    router = ControlServiceStub(channel)
    pools, workers = await asyncio.gather(
        router.ListPools(pb.ListPoolsRequest()), router.ListWorkers(pb.ListWorkersRequest())
    )
    names = [status.pool.name for status in pools.pools]
    rollouts = await asyncio.gather(*(_rollout(router, name) for name in names))
    found = {name: rollout for name, rollout in zip(names, rollouts, strict=True) if rollout}
    return ClusterStatus(pools.pools, workers.workers, found)


async def _rollout(router: ControlServiceStub, pool: str) -> pb.Rollout | None:
    try:
        reply = await router.GetRollout(pb.GetRolloutRequest(pool=pool))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    return reply.rollout


async def _events(channel: grpc.aio.Channel, request: pb.ListRolloutEventsRequest) -> pb.ListRolloutEventsResponse:
    return await ControlServiceStub(channel).ListRolloutEvents(request)


async def _log(channel: grpc.aio.Channel, request: pb.ReadLogRequest) -> bytes | None:
    try:
        return (await RouterServiceStub(channel).ReadLog(request)).log
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
