"""One request with a short answer, outside of any measurement."""

import asyncio
import time
from collections.abc import Mapping

from loadtests.connection import Connection
from loadtests.target import Target


async def ask(target: Target, request: bytes, limit_s: float) -> tuple[int, bytes]:
    """Sends a request on a connection of its own.

    Args:
        target: The server.
        request: Its bytes, as `target` makes them.
        limit_s: Seconds until the whole answer must be there.

    Returns:
        Status and body.

    Raises:
        OSError: The server cannot be reached, or the connection broke.
        TimeoutError: The answer was not there in time.
    """
    reader = _BodyReader()
    async with asyncio.timeout(limit_s):
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(time.monotonic), target.host, target.port, ssl=target.ssl()
        )
        try:
            connection.send(request, reader)
            await reader.ended
        finally:
            connection.abort()
    return reader.status, bytes(reader.content)


class _BodyReader:
    """Collects a short response."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.content = bytearray()

    def head(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        self.status = status

    def body(self, data: bytes, now_s: float) -> None:
        self.content += data

    def end(self, now_s: float) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def lost(self, now_s: float, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(ConnectionError(reason))
