"""The routes of one resource, as a route file declares them."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.connection.query import note_unread
from services.gateway.http.openapi import answers_of, body_of

Handler = Callable[..., Awaitable[Response]]
"""Takes the request, and path parameters by name where the path has some."""


class NamingRoute(APIRoute):
    """A route whose answers name query parameters that it does not have."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns what answers a request."""
        handler, known = super().get_route_handler(), _query_of(self.dependant)

        async def handle(request: Request) -> Response:
            note_unread(request.scope, known)
            return await handler(request)

        return handle


def _query_of(dependant: Dependant) -> set[str]:
    """Returns the names of the query parameters of a handler and of what it depends on."""
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_query_of, dependant.dependencies))


class RestRouter(APIRouter):
    """FastAPI's router, which also knows the routes that need nothing of FastAPI but their documentation.

    Attributes:
        fast: handlers of POST routes without path parameters, by path. `FastRoutes` calls them directly.
    """

    def __init__(self, prefix: str = "", **options: Any) -> None:
        super().__init__(prefix=prefix, route_class=NamingRoute, **options)
        self.fast: dict[str, Handler] = {}

    def add_json_post(
        self, path: str, handler: Handler, body: type[BaseModel], example: dict[str, Any], *, status_code: int = 200
    ) -> None:
        """Adds a POST route whose handler reads its own JSON body.

        Args:
            path: below the router's prefix.
            handler: answers the request.
            body: the model that validates the body; the OpenAPI document shows its schema.
            example: a valid body, for the OpenAPI document.
            status_code: status of a success, for the OpenAPI document.
        """
        extra, responses = body_of(body, example), answers_of(body, status_code)
        self.add_api_route(
            path, handler, methods=["POST"], openapi_extra=extra, responses=responses, status_code=status_code
        )
        if "{" not in path:
            self.fast[self.prefix + path] = handler


class Routes(Protocol):
    """One resource of the REST API."""

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        ...
