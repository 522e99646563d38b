"""Endpoints that read the request themselves are found here; the framework documents them, and has all others."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class FastRoutes:
    def __init__(self, endpoints: Mapping[str, Endpoint], app: ASGIApp) -> None:
        """endpoints: of POST, by path. What they raise is for whoever calls this."""
        self._endpoints, self._app = endpoints, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        if endpoint is None:
            await self._app(scope, receive, send)
        else:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)
