"""Members of uvicorn that HttpProtocol and Connection build on, without any promise that uvicorn keeps them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.gateway.http.connection.protocol import CONNECTION, Connection, HttpProtocol
from services.gateway.http.connection.request_parser import RequestParser
from tests.support.wait import wait_until

REQUEST = b"POST /path HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"
OVERRIDDEN = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "on_message_begin": ["self"],
    "on_headers_complete": ["self"],
    "on_message_complete": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
    "send_400_response": ["self", "msg"],
}


class Socket:
    def setsockopt(self, *_: Any) -> None: ...
    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 2)

    getpeername = getsockname


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"socket": Socket()})
        self.written, self.closed = b"", False
        self.limits: list[int | None] = []

    def write(self, data: Any) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits.append(high)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers: tests answer in its place."""
    await asyncio.Event().wait()


@pytest.fixture
async def protocol() -> HttpProtocol:
    config = Config(_app, http=HttpProtocol, lifespan="off", log_config=None)
    config.load()
    made = HttpProtocol(config=config, server_state=ServerState(), app_state={})
    made.connection_made(Transport())
    return made


@pytest.fixture
async def connection(protocol: HttpProtocol) -> Connection:
    protocol.data_received(REQUEST)
    found: Connection = protocol.scope["state"][CONNECTION]
    return found


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_overridden_methods_have_these_parameters(name: str) -> None:
    method = getattr(HttpToolsProtocol, name)
    assert list(inspect.signature(method).parameters) == OVERRIDDEN[name]


def test_status_lines_are_bytes_by_status() -> None:
    assert STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    assert STATUS_LINE[431].endswith(b"\r\n")
    assert {400, 408, 431} <= set(STATUS_LINE)


async def test_members_of_the_protocol(protocol: HttpProtocol, connection: Connection) -> None:
    """headers, scope, cycle, transport, flow; the scope that we put the Connection into is the application's."""
    assert (b"host", b"a") in protocol.headers
    assert protocol.scope["path"] == "/path"
    assert isinstance(protocol.transport, Transport)
    assert isinstance(protocol.parser, RequestParser)
    assert isinstance(protocol.flow, FlowControl)
    assert isinstance(protocol.cycle, RequestResponseCycle)
    assert not protocol.cycle.response_started
    assert protocol.cycle.scope is protocol.scope


async def test_members_of_a_request_and_its_response(protocol: HttpProtocol, connection: Connection) -> None:
    """more_body, body, flow.write_paused, disconnected, transport, response_complete."""
    cycle = protocol.cycle
    assert cycle is not None
    assert cycle.more_body is False
    assert cycle.body == b"body"
    assert cycle.flow.write_paused is False
    assert cycle.disconnected is False
    assert cycle.transport is protocol.transport
    assert cycle.response_complete is False
    assert (cycle.waiting_for_100_continue, cycle.keep_alive) == (False, True)
    assert (cycle.chunked_encoding, cycle.expected_content_length) == (None, 0)


async def test_a_body_is_taken_once(connection: Connection) -> None:
    assert connection.take_body() == b"body"
    assert connection.take_body() == b""


async def test_a_client_that_stops_reading_does_not_keep_up(protocol: HttpProtocol, connection: Connection) -> None:
    assert connection.keeps_up
    protocol.pause_writing()
    assert not connection.keeps_up
    protocol.resume_writing()
    assert connection.keeps_up


async def test_a_watcher_is_told_when_the_client_leaves(protocol: HttpProtocol, connection: Connection) -> None:
    left: list[str] = []
    with connection.watched(lambda: left.append("left")):
        assert not left
        protocol.connection_lost(None)
    assert left == ["left"]
    assert not connection.keeps_up


async def test_a_part_is_written_as_the_same_chunk_that_uvicorn_writes(
    protocol: HttpProtocol, connection: Connection
) -> None:
    """A response without a length is chunked by uvicorn itself; Connection.write must write the same."""
    transport, cycle = cast(Transport, protocol.transport), protocol.cycle
    assert cycle is not None
    await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    transport.written = b""
    await cycle.send({"type": "http.response.body", "body": b"x" * 20, "more_body": True})
    by_uvicorn, transport.written = transport.written.partition(b"\r\n\r\n")[2] or transport.written, b""
    connection.write(b"x" * 20)
    assert transport.written == by_uvicorn == b"14\r\n" + b"x" * 20 + b"\r\n"


async def test_a_part_for_http_1_0_is_written_as_it_is(protocol: HttpProtocol) -> None:
    protocol.data_received(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))
    transport, cycle = cast(Transport, protocol.transport), protocol.cycle
    await cycle.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    transport.written = b""
    cycle.chunked_encoding = False
    Connection(cycle, set()).write(b"part")
    assert transport.written == b"part"


Ask = Callable[[bytes, list[Message]], Awaitable[bytes]]


@pytest.fixture
def answering() -> Ask:
    """Sends bytes to an application that answers with some messages; returns what was written, without status line."""

    async def ask(request: bytes, messages: list[Message]) -> bytes:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for message in messages:
                await send(message)

        config = Config(app, http=HttpProtocol, lifespan="off", log_config=None)
        config.load()
        made = HttpProtocol(config=config, server_state=ServerState(), app_state={})
        made.connection_made(transport := Transport())
        made.data_received(request)
        await wait_until(lambda: made.cycle.response_complete, description="the application has answered")
        closed = b"closed" if transport.closed else b"open"
        made.connection_lost(None)
        return transport.written.partition(b"\r\n")[2] + b"|" + closed

    return ask


START: Message = {"type": "http.response.start", "status": 200, "headers": []}
PARTS: list[Message] = [
    START,
    *({"type": "http.response.body", "body": part, "more_body": True} for part in (b"one", b"", b"two")),
    {"type": "http.response.body", "body": b"", "more_body": False},
]
WHOLE: list[Message] = [
    {**START, "headers": [(b"content-length", b"3")]},
    {"type": "http.response.body", "body": b"one", "more_body": False},
]


@pytest.mark.parametrize(
    ("version", "messages", "written"),
    [
        (b"1.0", PARTS, b"connection: close\r\n\r\nonetwo|closed"),
        (b"1.0", WHOLE, b"content-length: 3\r\nconnection: close\r\n\r\none|closed"),
        (b"1.1", PARTS, b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n|open"),
        (b"1.1", WHOLE, b"content-length: 3\r\n\r\none|open"),
    ],
)
async def test_framing_by_version(answering: Ask, version: bytes, messages: list[Message], written: bytes) -> None:
    assert await answering(b"GET / HTTP/%b\r\nhost: a\r\n\r\n" % version, messages) == written


@pytest.mark.parametrize(
    ("headers", "rest", "ending"),
    [
        (b"expect: 100-continue\r\ncontent-length: 4", b"", b"closed"),
        (b"expect: 100-continue\r\ncontent-length: 4", b"body", b"open"),
        (b"content-length: 4", b"", b"open"),
    ],
)
async def test_a_refusal_before_the_body_closes_if_the_client_waits(
    answering: Ask, headers: bytes, rest: bytes, ending: bytes
) -> None:
    written = await answering(b"POST / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n%b" % (headers, rest), WHOLE)
    assert written.rpartition(b"|")[2] == ending
    assert (b"connection: close" in written) == (ending == b"closed")
    assert b"100 Continue" not in written


async def test_reading_continues_after_a_large_body(protocol: HttpProtocol) -> None:
    """uvicorn stops to read at its high-water mark; flow.resume_reading and flow.read_paused are what we rely on."""
    size = HIGH_WATER_LIMIT + 1
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    connection: Connection = protocol.scope["state"][CONNECTION]
    assert protocol.flow.read_paused
    with connection.watched(lambda: None):
        assert not protocol.flow.read_paused
