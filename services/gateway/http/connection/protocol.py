"""uvicorn's HTTP protocol with bounds on size and time of headers, and its refusals in OpenAI's shape."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
HEADER_TIMEOUT_S = 10.0
# The system would let a socket grow to megabytes, and every reader that stalls would hold as much.
SEND_BUFFER_BYTES = 64 * 1024
# What the loop holds beyond that. Many small writes cost it four times their bytes.
UNSENT_BYTES = 16 * 1024
CONNECTION = "tidegate.connection"


class Connection:
    """One response's way to the socket, without waiting: what ASGI has no words for."""

    def __init__(self, cycle: RequestResponseCycle, when_lost: set[Callable[[], None]]) -> None:
        """when_lost: what is called when the client leaves."""
        self._cycle, self._when_lost = cycle, when_lost

    def take_body(self) -> bytes | None:
        """The request's, if all of it is here, as it mostly is: then nobody need wait for it. It is kept no longer."""
        if self._cycle.more_body:
            return None
        body, self._cycle.body = self._cycle.body, bytearray()
        return bytes(body)

    @property
    def keeps_up(self) -> bool:
        """The client is there, and takes what is written."""
        return not (self._cycle.flow.write_paused or self._cycle.disconnected)

    def write(self, part: bytes) -> None:
        """A part, not empty, of a body without a declared length that has begun and goes on."""
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(part), part))

    @contextmanager
    def watched(self, when_lost: Callable[[], None]) -> Iterator[None]:
        """`when_lost` is called if the client leaves meanwhile, or has left. The request has been read."""
        # A large body makes uvicorn stop reading, and whoever does not read does not notice either.
        self._cycle.flow.resume_reading()
        if self._cycle.transport.is_closing():
            when_lost()
        self._when_lost.add(when_lost)
        try:
            yield
        finally:
            self._when_lost.discard(when_lost)

    def abort(self) -> None:
        """Drops the connection and what is unsent."""
        self._cycle.transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """Applications find a Connection in the scope's state, as `CONNECTION`."""

    header_timeout_s = HEADER_TIMEOUT_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading_headers = False
        self._header_bytes = 0
        self._refused = False
        self._patience: asyncio.TimerHandle | None = None
        self._when_lost: set[Callable[[], None]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        transport.set_write_buffer_limits(UNSENT_BYTES)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)
        for tell in list(self._when_lost):
            tell()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._reading_headers:
            # Counted by arrival: one endless header never becomes a header.
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, "The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_headers, self._header_bytes = True, 0
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._reading_headers = False
        self._stop_awaiting()
        if len(self.headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in self.headers) > MAX_HEADER_BYTES:
            self._refuse(431, "The request's headers are too large.")
            raise ValueError("headers too large")
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("more than one Host header")
        super().on_headers_complete()
        # The task that was started for it has not run yet.
        self.scope["state"][CONNECTION] = Connection(self.cycle, self._when_lost)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _await_headers(self) -> None:
        """From here on, the headers of a request must be whole within the time limit, however they trickle in."""
        self._stop_awaiting()
        late = "The request's headers did not arrive in time."
        self._patience = asyncio.get_running_loop().call_later(self.header_timeout_s, self._refuse, 408, late)

    def _stop_awaiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, status: int, message: str) -> None:
        """Answers once, below any application, and closes."""
        if self._refused:
            return
        self._refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle and not cycle.response_complete:
            # A pipelined request is at fault while an answer is on its way: it must not get into that.
            self.transport.abort()
            return
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
