"""The server's side of HTTP/1.1, for as little CPU as Python allows."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import httptools


class Connection(asyncio.Protocol, ABC):
    """One client, request after request."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._path, self._body = b"", b""

    @abstractmethod
    def asked(self, path: bytes, body: bytes) -> None:
        """A whole request has come."""

    def answer(self, status: int, document: bytes) -> None:
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.write(head % (status, len(document)) + document)

    def write(self, data: bytes) -> None:
        """Dropped when the client has gone."""
        if self._transport:
            self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.asked(self._path, self._body)


async def serve(port: int, connection: Callable[[], Connection]) -> None:
    listening = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port)
    await listening.serve_forever()
