"""Telling the router of a new version."""

from collections.abc import Sequence

import grpc

from services.shared.certificates import Tls
from services.shared.rpc import channel
from tidegate.router.v1 import router_pb2, router_pb2_grpc

ASK_LIMIT_S = 10.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class NotAnnounced(Exception):
    """No router took the rollout; the version is published all the same."""


async def start_rollout(routers: Sequence[str], pool: str, version: str, tls: Tls | None = None) -> None:
    """Of the first router that can be reached. Raises NotAnnounced."""
    trouble = "no router is known (TIDEGATE_ROUTERS)"
    request = router_pb2.StartRolloutRequest(pool=pool, model_version=version)
    for address in routers:
        try:
            async with channel(address, tls) as opened:
                await router_pb2_grpc.ControlServiceStub(opened).StartRollout(request, timeout=ASK_LIMIT_S)
                return
        except grpc.aio.AioRpcError as error:
            trouble = f"router {address}: {error.code().name} {error.details()}"
            if error.code() not in _AWAY:
                break
    raise NotAnnounced(f"the rollout of {pool} to {version[:12]} did not start: {trouble}")
