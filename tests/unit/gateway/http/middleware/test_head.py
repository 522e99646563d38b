"""HEAD ends where the body of the GET would begin."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http.middleware.head import HeadRequests

ENOUGH = 1000


class Server:
    """Receives a response, and says that its client has left once the response is complete, as uvicorn does."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._complete = asyncio.Event()

    async def receive(self) -> Message:
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message.get("more_body") is False:
            self._complete.set()


def scope(method: str) -> Scope:
    return {"type": "http", "method": method, "path": "/", "headers": [], "asgi": {"spec_version": "2.3"}}


async def test_a_head_runs_the_get_and_sends_no_body() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(Request(scope).method)
        await Response(b"hello")(scope, receive, send)

    server = Server()
    await HeadRequests(app)(asked := scope("HEAD"), server.receive, server.send)
    start, body = server.sent
    assert seen == ["GET"]
    assert asked["method"] == "HEAD", "the server decides by its own scope"
    assert (b"content-length", b"5") in start["headers"]
    assert body == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    made = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal made
        while made < ENOUGH:
            made += 1
            await asyncio.sleep(0)
            yield b"part"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(parts())(scope, receive, send)

    server = Server()
    await HeadRequests(app)(scope("HEAD"), server.receive, server.send)
    assert [message["type"] for message in server.sent] == ["http.response.start", "http.response.body"]
    assert made < 10


async def test_other_methods_pass_as_they_are() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(Request(scope).method)(scope, receive, send)

    for method in ("GET", "POST", "DELETE"):
        server = Server()
        await HeadRequests(app)(scope(method), server.receive, server.send)
        assert server.sent[1]["body"] == method.encode()
