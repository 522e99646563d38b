"""One HTTP/1.1 connection for many requests. No task and no queue lies between the socket and the receiver."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools


class Receiver(Protocol):
    """Gets the parts of a response. `end` or `lost` is called last; `lost` may follow `end`."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers have arrived."""

    def body(self, data: bytes, now_s: float) -> None:
        """A part of the body has arrived."""

    def end(self, now_s: float) -> None:
        """The response is complete."""

    def lost(self, now_s: float, reason: str) -> None:
        """The connection has ended."""


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._receiver: Receiver | None = None
        self._read_at = 0.0
        self.requests = 0

    @property
    def usable(self) -> bool:
        """Whether the connection is open and has no request under way."""
        return self._transport is not None and not self._transport.is_closing() and self._receiver is None

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Sends a request.

        Raises:
            ConnectionError: The connection is closed or busy.
        """
        if self._transport is None or not self.usable:
            raise ConnectionError("the connection is closed, or busy with another request")
        self._receiver = receiver
        self.requests += 1
        self._transport.write(request)

    def abort(self) -> None:
        """Closes the connection at once. The receiver is not called any more."""
        self._receiver = None
        if self._transport:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._receiver is None:  # bytes without a request: the connection is not usable any more
            self.abort()
            return
        self._read_at = self._now()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lose(f"not HTTP: {error}")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        self._read_at = self._now()
        self._lose(f"connection reset ({exc})" if exc else "connection closed")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._receiver:
            self._receiver.head(self._parser.get_status_code(), self._headers)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if self._receiver:
            self._receiver.body(body, self._read_at)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        receiver, self._receiver = self._receiver, None
        if receiver:
            receiver.end(self._read_at)
        if not self._parser.should_keep_alive() and self._transport:
            self._transport.close()

    def _lose(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver:
            receiver.lost(self._read_at, reason)
