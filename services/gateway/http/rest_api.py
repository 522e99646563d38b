"""The REST API as one ASGI application, made of the routes of its resources."""

from collections.abc import Iterable

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.gateway.http import openapi
from services.gateway.http.middleware.errors import add_error_handlers
from services.gateway.http.middleware.fast_routes import FastRoutes
from services.gateway.http.middleware.head import HeadRequests
from services.gateway.http.routes.rest_router import RestRouter


def rest_api(routers: Iterable[RestRouter], open_paths: frozenset[str]) -> ASGIApp:
    """Joins the routers and documents them at `/openapi.json`.

    Args:
        routers: one for each resource. The first route that matches a path answers it.
        open_paths: paths that need no key, for the document.

    Returns:
        An application that raises what handlers of fast routes raise.
    """
    # FastAPI's own pages load scripts from elsewhere; console/static/docs.html shows the document instead.
    app = FastAPI(title="Tidegate", docs_url=None, redoc_url=None, redirect_slashes=False)
    add_error_handlers(app)
    fast = {}
    for router in routers:
        app.include_router(router)
        fast.update(router.fast)
    openapi.complete(app, open_paths)
    return FastRoutes(fast, HeadRequests(app))
