"""/v1/admin/tenants: tenants, for admin keys only."""

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.accounts.administration import Administration
from services.gateway.domain.account import Tenant
from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.admin import PREFIX, AdminBody, TenantName, account_errors, private, read
from services.gateway.http.routes.rest_router import RestRouter
from services.shared.tier import Tier

EXAMPLE: dict[str, Any] = {"name": "acme", "weight": 2, "tiers": ["priority", "default", "flex", "batch"]}


class TenantRequest(AdminBody):
    """Body of POST /v1/admin/tenants, which makes a tenant or changes one."""

    name: TenantName
    weight: float = Field(1.0, ge=0.001, le=1000)
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=4)] = ["default", "flex", "batch"]  # noqa: RUF012 -- pydantic copies it

    def tenant(self) -> Tenant:
        """Returns the tenant that the body describes."""
        return Tenant(self.name, self.weight, tuple(self.tiers))


class TenantRoutes:
    """Tenants: listed, made and changed."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix=PREFIX, tags=["admin"])
        router.add_api_route("/tenants", self.list_tenants, methods=["GET"])
        router.add_json_post("/tenants", self.put_tenant, TenantRequest, EXAMPLE)
        return router

    async def list_tenants(self) -> Response:
        """Lists all tenants."""
        async with account_errors():
            tenants = await self._administration.tenants()
        return private({"object": "list", "data": [tenant_document(tenant) for tenant in tenants]})

    async def put_tenant(self, request: Request) -> Response:
        """Makes a tenant, or changes the one of that name."""
        tenant = (await read(request, TenantRequest)).tenant()
        async with account_errors():
            await self._administration.put_tenant(tenant, caller_of(request))
        return private(tenant_document(tenant))


def tenant_document(tenant: Tenant) -> dict[str, Any]:
    """Returns a tenant as clients see it."""
    return {"object": "tenant", "name": tenant.name, "weight": tenant.weight, "tiers": tenant.tiers}
