"""What routes answer when the object store or the database is away, or when the gateway has no object store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.responses import Response

from services.gateway.database.engine import DatabaseAway
from services.gateway.http.routes.rest_router import RestRouter
from services.shared.errors import NotConfigured, Overloaded, StoreUnavailable
from services.shared.objectstore import StoreError


@asynccontextmanager
async def object_store_errors() -> AsyncIterator[None]:
    """Turns errors of the object store into StoreUnavailable, which becomes the response."""
    try:
        yield
    except StoreError as error:
        raise StoreUnavailable(
            "The object store cannot be reached now. Please try again.", code="store_unavailable", retry_after_s=1.0
        ) from error


@asynccontextmanager
async def database_errors() -> AsyncIterator[None]:
    """Turns a failure to reach the database into Overloaded, which becomes the response."""
    try:
        yield
    except DatabaseAway:
        raise Overloaded(
            "The database cannot be reached now.", code="accounts_unavailable", retry_after_s=1.0
        ) from None


class WithoutObjectStoreRoutes:
    """Files and batches on a gateway without an object store: every request gets an error that says so."""

    def router(self) -> RestRouter:
        """Returns the routes of files and batches, undocumented."""
        router = RestRouter(include_in_schema=False)
        for path in ("/v1/files", "/v1/batches"):
            for route in (path, path + "/{rest:path}"):
                router.add_api_route(route, self.refuse, methods=["GET", "POST", "DELETE"])
        return router

    async def refuse(self) -> Response:
        """Raises NotConfigured."""
        raise NotConfigured("Files and batches need an object store, and this gateway was given none.")
