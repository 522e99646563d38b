"""/v1/admin/keys: API keys, for admin keys only."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.accounts.administration import Administration
from services.gateway.accounts.api_keys import NewKey
from services.gateway.domain.account import DEFAULT_TENANT, Budget, Key, Limits, Role
from services.gateway.domain.period import Period
from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.admin import PREFIX, AdminBody, TenantName, account_errors, private, read
from services.gateway.http.routes.rest_router import RestRouter
from services.shared.tier import Tier

MAX_GRACE_S = 30 * 86_400
MAX_LIFE_S = 100 * 365 * 86_400
EXAMPLE: dict[str, Any] = {
    "tenant": "acme",
    "name": "nightly jobs",
    "tiers": ["flex", "batch"],
    "requests_per_minute": 60,
}
ROTATE_EXAMPLE: dict[str, Any] = {"grace_s": 3600}

ModelName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20]{1,256}$")]
Amount = Annotated[int, Field(ge=1, le=10**15)]


class NewKeyRequest(AdminBody):
    """Body of POST /v1/admin/keys. What is left out is not limited."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")
    tenant: TenantName = DEFAULT_TENANT
    role: Role = "inference"
    models: Annotated[list[ModelName], Field(min_length=1, max_length=1000)] | None = None
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=4)] | None = None
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    concurrency: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    budget_tokens: Amount | None = None
    budget_period: Period | None = None
    expires_in_s: int | None = Field(None, ge=1, le=MAX_LIFE_S)

    @model_validator(mode="after")
    def _budget_is_whole(self) -> Self:
        if (self.budget_tokens is None) != (self.budget_period is None):
            missing, given = ("budget_tokens", "budget_period")[:: 1 if self.budget_tokens is None else -1]
            raise ValueError(f"{missing}: must be given together with {given}")
        return self

    def key(self, new: NewKey, now: float) -> Key:
        """Returns the key's record.

        Args:
            new: the secret that was made for the key.
            now: seconds since 1970.
        """
        return Key(
            id=new.id,
            tenant=self.tenant,
            name=self.name,
            prefix=new.prefix,
            role=self.role,
            models=None if self.models is None else tuple(self.models),
            tiers=None if self.tiers is None else tuple(self.tiers),
            limits=Limits(self.requests_per_minute, self.tokens_per_minute, self.concurrency),
            budget=Budget(self.budget_tokens, self.budget_period)
            if self.budget_tokens and self.budget_period
            else None,
            created=now,
            expires=None if self.expires_in_s is None else now + self.expires_in_s,
        )


class RotateRequest(AdminBody):
    """Body of POST /v1/admin/keys/{id}/rotate. grace_s: the former key is good for so long."""

    grace_s: int = Field(0, ge=0, le=MAX_GRACE_S)


class KeyRoutes:
    """API keys: made, listed, rotated and revoked."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix=PREFIX, tags=["admin"])
        router.add_json_post("/keys", self.create_key, NewKeyRequest, EXAMPLE, status_code=201)
        router.add_api_route("/keys", self.list_keys, methods=["GET"])
        router.add_api_route("/keys/{key_id}", self.show_key, methods=["GET"])
        router.add_json_post("/keys/{key_id}/rotate", self.rotate_key, RotateRequest, ROTATE_EXAMPLE)
        router.add_api_route("/keys/{key_id}/revoke", self.revoke_key, methods=["POST"])
        return router

    async def create_key(self, request: Request) -> Response:
        """Makes a key. Only this response shows the secret."""
        body = await read(request, NewKeyRequest)
        async with account_errors():
            key, secret = await self._administration.create(body, caller_of(request))
        return private(key_document(key, secret), 201)

    async def list_keys(self, tenant: str | None = None) -> Response:
        """Lists all keys, or those of one tenant."""
        async with account_errors():
            keys = await self._administration.keys(tenant)
        return private({"object": "list", "data": [key_document(key) for key in keys]})

    async def show_key(self, key_id: str) -> Response:
        """Shows one key, without its secret."""
        async with account_errors():
            return private(key_document(await self._administration.get(key_id)))

    async def rotate_key(self, key_id: str, request: Request) -> Response:
        """Gives a key a new secret. The former secret stays good for the grace period."""
        body = await read(request, RotateRequest)
        async with account_errors():
            key, secret = await self._administration.rotate(key_id, body.grace_s, caller_of(request))
        return private(key_document(key, secret))

    async def revoke_key(self, key_id: str, request: Request) -> Response:
        """Revokes a key at once and for good."""
        async with account_errors():
            return private(key_document(await self._administration.revoke(key_id, caller_of(request))))


def key_document(key: Key, secret: str | None = None) -> dict[str, Any]:
    """Returns a key as clients see it. secret: shown only by the response that makes it."""
    budget = {"tokens": key.budget.tokens, "period": key.budget.period} if key.budget else None
    document = {
        "object": "api_key",
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "prefix": key.prefix,
        "role": key.role,
        "models": key.models,
        "tiers": key.tiers,
        "requests_per_minute": key.limits.requests_per_minute,
        "tokens_per_minute": key.limits.tokens_per_minute,
        "concurrency": key.limits.concurrency,
        "budget": budget,
        "created_at": int(key.created),
        "expires_at": None if key.expires is None else int(key.expires),
        "revoked_at": None if key.revoked is None else int(key.revoked),
    }
    return {**document, "key": secret} if secret else document
