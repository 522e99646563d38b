"""uvicorn inside a process that has its own event loop and signal handlers."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

GRACE_S = 30


class HttpServer:
    """Serves an ASGI application from `start` to `stop`.

    Args:
        app: The application.
        host: Address to listen on.
        port: 0 for any free port.
        drain_s: Seconds that open responses get when the server stops.
        **options: Passed to uvicorn.Config.
    """

    def __init__(self, app: Any, host: str, port: int, *, drain_s: int = GRACE_S, **options: Any) -> None:
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
        """Binds the address and begins to serve.

        Returns:
            host:port.

        Raises:
            OSError: The address is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        # Accepted sockets inherit this. Without it, a small answer may wait 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return f"{self._host}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Stops the server. Open responses get `drain_s` seconds to finish."""
        self._server.should_exit = True
        if self._task:
            await self._task


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
