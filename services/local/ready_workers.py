"""Which workers every router counts as ready."""

from collections.abc import Sequence

import grpc

from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

_ANSWER_LIMIT_S = 5.0


async def ready_workers(routers: Sequence[str]) -> set[str]:
    """Asks every router.

    Args:
        routers: host:port of each router.

    Returns:
        Ids of the workers that all routers count as ready. Empty while a router does not answer.
    """
    try:
        views = [await _ready_at(address) for address in routers]
    except grpc.aio.AioRpcError:
        return set()
    return set.intersection(*views)


async def _ready_at(address: str) -> set[str]:
    async with channel(address) as opened:
        answer = await ControlServiceStub(opened).ListWorkers(pb.ListWorkersRequest(), timeout=_ANSWER_LIMIT_S)
    beats = (status.heartbeat for status in answer.workers)
    return {beat.worker_id for beat in beats if beat.state == pb.WORKER_STATE_READY}
