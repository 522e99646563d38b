"""Bodies of the admin API's requests, and its objects as JSON."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.gateway.accounts.api_keys import NewKey
from services.gateway.domain.account import DEFAULT_TENANT, Budget, Key, Limits, Role, Tenant
from services.gateway.domain.period import Period

TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20]{1,256}$")]
Tier = Literal["priority", "default", "flex", "batch"]
Amount = Annotated[int, Field(ge=1, le=10**15)]

MAX_GRACE_S = 30 * 86_400
MAX_LIFE_S = 100 * 365 * 86_400


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NewKeyRequest(Document):
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
            raise ValueError("budget_tokens and budget_period go together")
        return self

    def key(self, new: NewKey, now: float) -> Key:
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


class RotateRequest(Document):
    """Body of POST /v1/admin/keys/{id}/rotate. grace_s: the former key is good for so long."""

    grace_s: int = Field(0, ge=0, le=MAX_GRACE_S)


class TenantRequest(Document):
    """Body of POST /v1/admin/tenants, which makes a tenant or changes one."""

    name: TenantName
    weight: float = Field(1.0, ge=0.001, le=1000)
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=4)] = ["default", "flex", "batch"]

    def tenant(self) -> Tenant:
        return Tenant(self.name, self.weight, tuple(self.tiers))


def key_document(key: Key, secret: str | None = None) -> dict[str, Any]:
    """secret: the key itself, which only the answer that makes it shows."""
    budget = {"tokens": key.budget.tokens, "period": key.budget.period} if key.budget else None
    shown = {
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
    return {**shown, "key": secret} if secret else shown


def tenant_document(tenant: Tenant) -> dict[str, Any]:
    return {"object": "tenant", "name": tenant.name, "weight": tenant.weight, "tiers": tenant.tiers}
