"""What the router's control service says of pools, workers and rollouts; any replica that answers will do."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from services.shared import rpc
from services.shared.errors import StoreUnavailable
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

# For all questions to one replica together.
TIMEOUT_S = 2.0
MAX_TRIES = 3


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`rollouts`: the last one of each pool that ever had one."""

    pools: Sequence[pb.PoolStatus]
    workers: Sequence[pb.WorkerStatus]
    rollouts: dict[str, pb.Rollout]


class ControlClient:
    def __init__(self, addresses: Sequence[str], tls: rpc.Tls | None = None) -> None:
        self._addresses, self._tls = deque(addresses), tls

    async def standing(self) -> ClusterStatus:
        """Raises StoreUnavailable when no replica answers. The one that did is asked first the next time."""
        for _ in range(min(MAX_TRIES, len(self._addresses))):
            try:
                async with asyncio.timeout(TIMEOUT_S), rpc.channel(self._addresses[0], self._tls) as channel:
                    return await _ask(ControlServiceStub(channel))
            except (grpc.aio.AioRpcError, TimeoutError):
                self._addresses.rotate(-1)
        raise StoreUnavailable("No router answers now. Please try again.", retry_after_s=1.0)


async def _ask(router: ControlServiceStub) -> ClusterStatus:
    pools, workers = await asyncio.gather(
        router.ListPools(pb.ListPoolsRequest()), router.ListWorkers(pb.ListWorkersRequest())
    )
    names = [status.pool.name for status in pools.pools]
    rollouts = await asyncio.gather(*(_rollout(router, name) for name in names))
    found = {name: rollout for name, rollout in zip(names, rollouts, strict=True) if rollout}
    return ClusterStatus(pools.pools, workers.workers, found)


async def _rollout(router: ControlServiceStub, pool: str) -> pb.Rollout | None:
    try:
        answer = await router.GetRollout(pb.GetRolloutRequest(pool=pool))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    return answer.rollout
