"""/v1/admin: keys and tenants over REST, for admin keys alone (rest/front.py lets nobody else in)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.accounts.administration import Administration
from services.gateway.accounts.store import Unknown
from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.account import Caller
from services.gateway.http import examples
from services.gateway.http.connection.body import read_object
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.openapi import body_of
from services.gateway.http.routes.admin_documents import (
    NewKeyRequest,
    RotateRequest,
    TenantRequest,
    key_document,
    tenant_document,
)
from services.gateway.openai import validation
from services.gateway.openai.request_builder import identified
from services.shared.errors import NotFound, Overloaded

MAX_BODY_BYTES = 256 * 1024
BODY_TIMEOUT_S = 10.0

M = TypeVar("M", bound=BaseModel)


class AdminRoutes:
    def __init__(self, admin: Administration) -> None:
        self._admin = admin

    def routes(self) -> APIRouter:
        router = APIRouter(prefix="/v1/admin", tags=["admin"])
        add = router.add_api_route
        add(
            "/keys",
            self.create_key,
            methods=["POST"],
            openapi_extra=body_of(NewKeyRequest, examples.NEW_KEY),
            status_code=201,
        )
        add("/keys", self.list_keys, methods=["GET"])
        add("/keys/{key_id}", self.show_key, methods=["GET"])
        add(
            "/keys/{key_id}/rotate",
            self.rotate_key,
            methods=["POST"],
            openapi_extra=body_of(RotateRequest, examples.ROTATE),
        )
        add("/keys/{key_id}/revoke", self.revoke_key, methods=["POST"])
        add("/tenants", self.list_tenants, methods=["GET"])
        add("/tenants", self.put_tenant, methods=["POST"], openapi_extra=body_of(TenantRequest, examples.TENANT))
        return router

    async def create_key(self, request: Request) -> Response:
        wanted = await _read(request, NewKeyRequest)
        async with _told():
            key, secret = await self._admin.create(wanted, caller_of(request))
        return _answer(key_document(key, secret), 201)

    async def list_keys(self, tenant: str | None = None) -> Response:
        async with _told():
            keys = await self._admin.keys(tenant)
        return _answer({"object": "list", "data": [key_document(key) for key in keys]})

    async def show_key(self, key_id: str) -> Response:
        async with _told():
            return _answer(key_document(await self._admin.get(key_id)))

    async def rotate_key(self, key_id: str, request: Request) -> Response:
        wanted = await _read(request, RotateRequest)
        async with _told():
            key, secret = await self._admin.rotate(key_id, wanted.grace_s, caller_of(request))
        return _answer(key_document(key, secret))

    async def revoke_key(self, key_id: str, request: Request) -> Response:
        async with _told():
            return _answer(key_document(await self._admin.revoke(key_id, caller_of(request))))

    async def list_tenants(self) -> Response:
        async with _told():
            tenants = await self._admin.tenants()
        return _answer({"object": "list", "data": [tenant_document(tenant) for tenant in tenants]})

    async def put_tenant(self, request: Request) -> Response:
        tenant = (await _read(request, TenantRequest)).tenant()
        async with _told():
            await self._admin.put_tenant(tenant, caller_of(request))
        return _answer(tenant_document(tenant))


def caller_of(request: Request) -> Caller:
    """Raises Unauthenticated where nobody was let in."""
    return identified(RequestContext.of(request.scope))


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Failures as clients are told them."""
    try:
        yield
    except Unknown as unknown:
        raise NotFound(str(unknown)) from None
    except DatabaseAway:
        raise database_away() from None


def database_away() -> Overloaded:
    return Overloaded("The database cannot be reached now.", code="accounts_unavailable", retry_after_s=1.0)


async def _read(request: Request, kind: type[M]) -> M:
    body = await read_object(request, max_bytes=MAX_BODY_BYTES, timeout_s=BODY_TIMEOUT_S)
    return validation.check(kind, body)


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    """Never kept by anything between us and the client."""
    return JSONResponse(document, status_code=status, headers={"cache-control": "no-store"})
