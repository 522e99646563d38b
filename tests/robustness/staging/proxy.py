"""A proxy before the object store that counts the bytes which it sends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_CHUNK = 256 * 1024


class Proxy:
    """`sent`: bytes that the store has sent through it. `url`: where it listens."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.sent = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copies both ways until one side ends."""
        store_reader, store_writer = await asyncio.open_connection(self._host, self._port)
        both = (self._copy(reader, store_writer, counts=False), self._copy(store_reader, writer, counts=True))
        await asyncio.gather(*both, return_exceptions=True)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counts: bool) -> None:
        try:
            while chunk := await source.read(_CHUNK):
                target.write(chunk)
                await target.drain()
                self.sent += len(chunk) if counts else 0
        finally:
            with suppress(OSError):
                target.close()


@asynccontextmanager
async def counting(target: str) -> AsyncIterator[Proxy]:
    """A proxy before the server at this URL."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield proxy
    finally:
        server.close()
