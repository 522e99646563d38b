"""uvicorn as a part of a process that owns its event loop, its signals and its socket."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

GRACE_S = 30


class HttpServer:
    """Serves an ASGI application from `start` to `stop`."""

    def __init__(self, app: Any, host: str, port: int, *, drain_s: int = GRACE_S, **options: Any) -> None:
        """drain_s: what open responses get at the end. `options` are uvicorn.Config's. Port 0: any free one."""
        self._host, self._port = host, port
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                timeout_graceful_shutdown=drain_s,
                **options,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Binds and serves; returns host:port. Raises OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        # Accepted sockets inherit it. Without, a small answer may wait 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return f"{self._host}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Lets open responses finish, at most drain_s seconds."""
        self._server.should_exit = True
        if self._task:
            await self._task


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
