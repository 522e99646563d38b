"""How much memory unsent data takes for clients that do not read."""

import asyncio
import socket

import psutil
import uvloop
from starlette.types import Receive, Scope, Send

from services.gateway.http.connection.protocol import CONNECTION, Connection, HttpProtocol
from services.shared.http import HttpServer
from services.shared.settings import split
from tests.support.wait import wait_until

KIB = 1024
CLIENTS = 50
BOUND_KIB = 128
EVENT = b"data: " + b"x" * 230 + b"\n\n"
"""An event as large as that of one token."""


class Endless:
    """Writes small events past the framework, as streams do, for as long as the client keeps up."""

    def __init__(self) -> None:
        self.stalled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["state"][CONNECTION]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while connection.keeps_up:
            connection.write(EVENT)
            await asyncio.sleep(0)
        self.stalled += 1
        await send({"type": "http.response.body", "body": EVENT})


async def _grown_kib() -> float:
    """Returns the memory for each client when no client takes any more data."""
    app = Endless()
    server = HttpServer(app, "127.0.0.1", 0, drain_s=0, http=HttpProtocol)
    address = split(await server.start())
    before = psutil.Process().memory_info().rss
    clients = [await _ask(address) for _ in range(CLIENTS)]
    await wait_until(lambda: app.stalled == CLIENTS, description="none of them can be written to")
    grown = psutil.Process().memory_info().rss - before
    for client in clients:
        client.close()
    await server.stop()
    return grown / CLIENTS / KIB


async def _ask(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, address)
    await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    return client


def test_clients_that_do_not_read_cost_little_memory() -> None:
    """This runs on uvloop, which keeps each unsent write as an object of its own."""
    assert uvloop.run(_grown_kib()) < BOUND_KIB
