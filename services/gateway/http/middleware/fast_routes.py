"""The short way to endpoints that read their request themselves; all other routes go through FastAPI."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.http.connection.query import note_unread

QUERY = frozenset({"beta"})
"""Anthropic's clients ask for fields in beta with it. They are understood, or left out and named, without it too."""


class FastRoutes:
    """Finds handlers of POST requests by path, without FastAPI's routing and its parsing of parameters."""

    def __init__(self, handlers: Mapping[str, Callable[[Request], Awaitable[Response]]], app: ASGIApp) -> None:
        """Makes the middleware.

        Args:
            handlers: of POST requests, by path. What they raise is raised to the caller of this middleware.
            app: takes all other requests.
        """
        self._handlers, self._app = handlers, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs one request; this is ASGI."""
        handler = self._handlers.get(scope["path"]) if scope["method"] == "POST" else None
        if handler is None:
            await self._app(scope, receive, send)
        else:
            note_unread(scope, QUERY)
            response = await handler(Request(scope, receive))
            await response(scope, receive, send)
