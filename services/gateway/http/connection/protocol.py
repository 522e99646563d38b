"""uvicorn's HTTP protocol, with bounds on size and time of request headers, and with OpenAI's format of errors.

This is the only module that knows uvicorn's classes. `tests/unit/gateway/http/connection/test_protocol.py` names each
member that it uses or overrides, and fails when uvicorn changes one.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.gateway.http.connection.request_parser import RequestParser

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
HEADER_TIMEOUT_S = 10.0
# The system would let a socket's buffer grow to megabytes, for every client that stalls.
SEND_BUFFER_BYTES = 64 * 1024
# What the event loop may hold beyond that. Many small writes take four times their bytes there.
UNSENT_BYTES = 16 * 1024
CONNECTION = "tidegate.connection"


class Connection:
    """The short way from one response to its socket, without waiting. ASGI has no words for this."""

    def __init__(self, cycle: RequestResponseCycle, when_lost: set[Callable[[], None]]) -> None:
        """Makes the connection of one response.

        Args:
            cycle: uvicorn's request and response.
            when_lost: functions that are called when the client leaves.
        """
        self._cycle, self._when_lost = cycle, when_lost

    def take_body(self) -> bytes | None:
        """Returns the body of the request if all of it has arrived; otherwise None. It can be taken once."""
        if self._cycle.more_body:
            return None
        body, self._cycle.body = self._cycle.body, bytearray()
        return bytes(body)

    @property
    def keeps_up(self) -> bool:
        """Whether the client is there, and reads what is written."""
        return not (self._cycle.flow.write_paused or self._cycle.disconnected)

    def write(self, part: bytes) -> None:
        """Writes a part of a body without a length that has started and goes on. part: not empty."""
        if self._cycle.chunked_encoding:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        self._cycle.transport.write(part)

    @contextmanager
    def watched(self, when_lost: Callable[[], None]) -> Iterator[None]:
        """Calls `when_lost` if the client leaves within the block, or left before. The request must have been read."""
        # After a large body uvicorn has stopped reading, and without reading it would not notice that the client left.
        self._cycle.flow.resume_reading()
        if self._cycle.transport.is_closing():
            when_lost()
        self._when_lost.add(when_lost)
        try:
            yield
        finally:
            self._when_lost.discard(when_lost)

    def abort(self) -> None:
        """Drops the connection, and what is unsent."""
        self._cycle.transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """One connection of a client. Applications find a Connection in `scope["state"][CONNECTION]`."""

    header_timeout_s = HEADER_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser: RequestParser = RequestParser(self)
        self._reading_headers = False
        self._header_bytes = 0
        self._refused = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._when_lost: set[Callable[[], None]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Limits the buffers, and begins to wait for headers."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        transport.set_write_buffer_limits(UNSENT_BYTES)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells all who watch the connection."""
        self._stop_awaiting()
        super().connection_lost(exc)
        for when_lost in list(self._when_lost):
            when_lost()

    def data_received(self, data: bytes) -> None:
        """Passes bytes to the parser. Counts the bytes of headers as they arrive: one endless header never ends."""
        if self._refused:
            return
        super().data_received(data)
        if self._reading_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, "The request's headers are too large.")

    def on_message_begin(self) -> None:
        """Begins to wait for the headers of a request."""
        super().on_message_begin()
        self._reading_headers, self._header_bytes = True, 0
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Checks the headers, starts the request, and puts its Connection into the scope.

        Raises:
            ValueError: the headers are refused; uvicorn then stops parsing.
        """
        self._reading_headers = False
        self._stop_awaiting()
        if self.parser.comes_again:
            return
        if len(self.headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in self.headers) > MAX_HEADER_BYTES:
            self._refuse(431, "The request's headers are too large.")
            raise ValueError("headers too large")
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("more than one Host header")
        super().on_headers_complete()
        # The task of the request was started, but has not run yet.
        self.scope["state"][CONNECTION] = Connection(self.cycle, self._when_lost)

    def on_message_complete(self) -> None:
        """Tells the application that it has the whole request."""
        if not self.parser.comes_again:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Starts the application, with a way to answer that suits the client's version of HTTP and what it waits for.

        cycle: the request and its response, with nothing of it sent yet.
        """
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # HTTP/1.0 does not know it
            app = _ended_by_closing(app, cycle)
        elif cycle.waiting_for_100_continue:
            app = _closed_unless_continued(app, cycle)
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Answers bytes that are not HTTP, in OpenAI's format."""
        self._refuse(400, msg)

    def _await_headers(self) -> None:
        """From now on, all headers of a request must arrive within the time limit, however slowly they come."""
        self._stop_awaiting()
        message = "The request's headers did not arrive in time."
        loop = asyncio.get_running_loop()
        self._header_timer = loop.call_later(self.header_timeout_s, self._refuse, 408, message)

    def _stop_awaiting(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse(self, status: int, message: str) -> None:
        """Answers once, below any application, and closes the connection."""
        if self._refused:
            return
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle and not cycle.response_complete:
            # A pipelined request is wrong while a response is on its way. The error must not get into that response.
            self.transport.abort()
            return
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def _ended_by_closing(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """An application for HTTP/1.0, which has no chunks: a body without a length ends where the connection ends."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        unframed = False

        async def send_unframed(message: Message) -> None:
            nonlocal unframed
            if message["type"] == "http.response.start":
                unframed = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = False if unframed else None
            elif unframed:
                # uvicorn compares each part with the rest of the length that it expects.
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unframed)

    return run


def _closed_unless_continued(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """An application for a client that waits for "100 Continue" before it sends its body.

    If it gets a final status instead, it may send the body or not, and the next bytes could be either the body or
    another request. So the connection closes.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_final(message: Message) -> None:
            if message["type"] == "http.response.start" and cycle.waiting_for_100_continue and cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_final)

    return run
