"""Logs that other gateways have written, as the routers have them."""

import asyncio
from collections import deque
from collections.abc import Sequence

import grpc

from services.shared import rpc
from services.shared.errors import StoreUnavailable
from tidegate.router.v1 import router_pb2
from tidegate.router.v1.router_pb2_grpc import RouterServiceStub

TIMEOUT_S = 2.0
MAX_TRIES = 3


class LogReader:
    def __init__(self, addresses: Sequence[str], tls: rpc.Tls | None = None) -> None:
        self._addresses, self._tls = deque(addresses), tls

    async def read(self, pool: str, request_id: str) -> bytes | None:
        """None when nothing is kept. Raises StoreUnavailable when no replica knows."""
        request = router_pb2.ReadLogRequest(pool=pool, request_id=request_id)
        for _ in range(min(MAX_TRIES, len(self._addresses))):
            try:
                async with asyncio.timeout(TIMEOUT_S), rpc.channel(self._addresses[0], self._tls) as channel:
                    return (await RouterServiceStub(channel).ReadLog(request)).log
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
            except TimeoutError:
                pass
            self._addresses.rotate(-1)
        raise StoreUnavailable("No router answers now. Please try again.", retry_after_s=1.0)
