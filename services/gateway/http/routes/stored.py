"""What is kept in the object store, and what clients are told when there is none or it is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter
from starlette.responses import Response

from services.shared.errors import NotConfigured, StoreUnavailable
from services.shared.objectstore import StoreError


@asynccontextmanager
async def stored() -> AsyncIterator[None]:
    """Raises StoreUnavailable for what the store raises."""
    try:
        yield
    except StoreError as error:
        raise StoreUnavailable(
            "The object store cannot be reached now. Please try again.", code="store_unavailable", retry_after_s=1.0
        ) from error


def unconfigured() -> APIRouter:
    """Routes that say so, where the operator gave the gateway no object store."""
    router = APIRouter(include_in_schema=False)
    for path in ("/v1/files", "/v1/batches"):
        for route in (path, path + "/{rest:path}"):
            router.add_api_route(route, _without_store, methods=["GET", "POST", "DELETE"])
    return router


async def _without_store() -> Response:
    raise NotConfigured("Files and batches need an object store, and this gateway was given none.")
