"""An HTTP/1.1 server that needs as little CPU as Python allows."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import httptools


class Connection(asyncio.Protocol, ABC):
    """A connection with one client, for one request after another."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._path, self._body = b"", b""

    @abstractmethod
    def requested(self, path: bytes, body: bytes) -> None:
        """Called with each complete request."""

    def answer(self, status: int, document: bytes) -> None:
        """Sends a complete JSON response."""
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.write(head % (status, len(document)) + document)

    def write(self, data: bytes) -> None:
        """Sends bytes. They are dropped when the client has disconnected."""
        if self._transport:
            self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.requested(self._path, self._body)


async def serve(port: int, connection: Callable[[], Connection]) -> None:
    """Listens on a port of loopback for ever."""
    listening = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port)
    await listening.serve_forever()
