"""A small OpenAI-compatible server that does exactly what a test tells it, right or wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.target import Target

MODELS = orjson.dumps({"object": "list", "data": [{"id": "tide", "object": "model"}]})


@dataclass(slots=True)
class Exchange:
    """One request, and how to answer it. `number` counts all requests, `turn` those of its connection."""

    number: int
    turn: int
    body: dict[str, Any]
    writer: asyncio.StreamWriter
    keep: bool = True

    @property
    def tokens(self) -> int:
        return int(self.body["max_tokens"])

    def start_stream(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def whole(self, status: int, body: bytes, headers: str = "", content_type: str = "application/json") -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)

    def break_off(self) -> None:
        self.keep = False
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


def event(document: object) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def events(tokens: int) -> list[bytes]:
    """The events of a right answer, without [DONE]."""
    words: list[dict[str, Any]] = [{"delta": {"content": " tide"}, "finish_reason": None} for _ in range(tokens)]
    words[-1]["finish_reason"] = "length"
    said = [{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    usage = {"prompt_tokens": 7, "completion_tokens": tokens}
    return [
        event(chunk) for chunk in [*said, *({"choices": [word]} for word in words), {"choices": [], "usage": usage}]
    ]


async def right(exchange: Exchange) -> None:
    """A right answer, streamed or in one piece."""
    if not exchange.body.get("stream"):
        message = {"message": {"content": " tide" * exchange.tokens}, "finish_reason": "length"}
        usage = {"prompt_tokens": 7, "completion_tokens": exchange.tokens}
        exchange.whole(200, orjson.dumps({"choices": [message], "usage": usage}))
        return
    exchange.start_stream()
    for each in events(exchange.tokens):
        exchange.chunk(each)
        await exchange.writer.drain()
    exchange.chunk(b"data: [DONE]\n\n")
    exchange.chunk(b"")


@dataclass(slots=True)
class Server:
    target: Target
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def serving(behave: Behaviour) -> AsyncIterator[Server]:
    """Listens on loopback until the `with` block ends; then open connections are closed."""
    open_now: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_now.add(task)
        server.connections += 1
        try:
            await _converse(reader, writer, server, behave)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            open_now.discard(task)
            writer.transport.abort()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    server = Server(Target.of(f"http://127.0.0.1:{port}/v1", "key"))
    try:
        yield server
    finally:
        listener.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server, behave: Behaviour
) -> None:
    keep, turn = True, 0
    while keep:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get "):
            Exchange(0, 0, {}, writer).whole(200, MODELS)
            continue
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = orjson.loads(await reader.readexactly(length))
        exchange = Exchange(len(server.requests), turn, body, writer)
        server.requests.append(body)
        await behave(exchange)
        await writer.drain()
        keep, turn = exchange.keep, turn + 1
