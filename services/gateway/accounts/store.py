"""Tenants and keys in the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from services.gateway.accounts.api_keys import NewKey
from services.gateway.database.engine import Database
from services.gateway.database.tables import keys, tenants, usage
from services.gateway.domain.account import ALL_TIERS, DEFAULT_TENANT, Budget, Key, Limits, Tenant
from services.gateway.domain.period import first_day

MAX_LISTED = 1000
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")
_SHOWN = [column for column in keys.c if column.name not in ("digest", "former_digest", "former_until")]


class AccountNotFound(Exception):
    """There is no such key or tenant. The message says which."""


@dataclass(frozen=True, slots=True)
class Found:
    """A key with its tenant.

    Args:
        used: tokens of the key's budget in this period.
    """

    key: Key
    tenant: Tenant
    used: int


class AccountStore:
    """Tenants and keys. Every method is one transaction and may raise DatabaseAway."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- for requests

    async def find(self, digest: str, now: float) -> Found | None:
        """Finds a key by the hash of its secret, or of its former secret while that one is valid.

        Args:
            digest: as ApiKeys makes it.
            now: seconds since 1970.
        """
        former = and_(keys.c.former_digest == digest, keys.c.former_until > now)
        return await self._find(or_(keys.c.digest == digest, former), now)

    async def find_id(self, key_id: str, now: float) -> Found | None:
        """Finds a key by its id, for work that goes on without the secret."""
        return await self._find(keys.c.id == key_id, now)

    async def _find(self, condition: ColumnElement[bool], now: float) -> Found | None:
        found = select(*_SHOWN, tenants.c.weight, tenants.c.tiers.label("tenant_tiers")).join(tenants).where(condition)
        async with self._database.begin() as connection:
            if (row := (await connection.execute(found)).one_or_none()) is None:
                return None
            key = _key(row)
            used = await connection.scalar(_used(key, now)) if key.budget else 0
        return Found(key, Tenant(key.tenant, row.weight, tuple(row.tenant_tiers)), int(used or 0))

    # ---- for administrators

    async def add(self, key: Key, new: NewKey) -> None:
        """Adds a key. Raises AccountNotFound when there is no such tenant."""
        row = {**_row(key), "digest": new.digest}
        try:
            async with self._database.begin() as connection:
                if key.tenant == DEFAULT_TENANT:
                    await self._add_default(connection)
                await connection.execute(insert(keys).values(row))
        except IntegrityError:
            raise AccountNotFound(f"There is no tenant '{key.tenant}'.") from None

    async def get(self, key_id: str) -> Key:
        """Returns a key's record. Raises AccountNotFound."""
        async with self._database.begin() as connection:
            row = (await connection.execute(select(*_SHOWN).where(keys.c.id == key_id))).one_or_none()
        if row is None:
            raise _no_key(key_id)
        return _key(row)

    async def keys_of(self, tenant: str | None = None) -> list[Key]:
        """Lists the last MAX_LISTED keys, newest first; of all tenants when `tenant` is None."""
        query = select(*_SHOWN).order_by(keys.c.created.desc(), keys.c.id).limit(MAX_LISTED)
        async with self._database.begin() as connection:
            rows = await connection.execute(query.where(keys.c.tenant == tenant) if tenant else query)
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str, now: float) -> Key:
        """Revokes a key. A second call keeps the time of the first. Raises AccountNotFound."""
        revoked = func.coalesce(keys.c.revoked, now)
        return await self._change(key_id, keys.c.id == key_id, {"revoked": revoked, "former_until": None})

    async def rotate(self, key_id: str, new: NewKey, former_until: float) -> Key:
        """Gives a key's rights to a new secret. The former one ends at `former_until`, in seconds since 1970.

        Raises:
            AccountNotFound: there is no such key, or it was revoked.
        """
        values = {
            "digest": new.digest,
            "prefix": new.prefix,
            "former_digest": keys.c.digest,
            "former_until": former_until,
        }
        return await self._change(key_id, and_(keys.c.id == key_id, keys.c.revoked.is_(None)), values)

    async def tenants(self) -> list[Tenant]:
        """Lists tenants by name, at most MAX_LISTED."""
        async with self._database.begin() as connection:
            rows = await connection.execute(select(tenants).order_by(tenants.c.name).limit(MAX_LISTED))
        return [Tenant(row.name, row.weight, tuple(row.tiers)) for row in rows]

    async def put_tenant(self, tenant: Tenant) -> None:
        """Creates or changes a tenant. Its keys stay as they are."""
        values: dict[str, Any] = {"weight": tenant.weight, "tiers": list(tenant.tiers)}
        async with self._database.begin() as connection:
            changed = await connection.execute(update(tenants).where(tenants.c.name == tenant.name).values(values))
            if not changed.rowcount:
                await connection.execute(insert(tenants).values(name=tenant.name, **values))

    async def _change(self, key_id: str, condition: ColumnElement[bool], values: Mapping[str, Any]) -> Key:
        async with self._database.begin() as connection:
            changed = await connection.execute(update(keys).where(condition).values(values).returning(*_SHOWN))
            row = changed.one_or_none()
        if row is None:
            raise _no_key(key_id)
        return _key(row)

    async def _add_default(self, connection: Any) -> None:
        """The tenant of the keys in the settings; it has every tier, as they have."""
        if await connection.scalar(select(tenants.c.name).where(tenants.c.name == DEFAULT_TENANT)) is None:
            await connection.execute(insert(tenants).values(name=DEFAULT_TENANT, weight=1.0, tiers=list(ALL_TIERS)))


def _no_key(key_id: str) -> AccountNotFound:
    return AccountNotFound(f"There is no key '{key_id[:64]}' that could be changed.")


def _used(key: Key, now: float) -> Any:
    period = key.budget.period if key.budget else "day"
    tokens = func.sum(usage.c.prompt_tokens + usage.c.completion_tokens)
    return select(tokens).where(usage.c.key_id == key.id, usage.c.day >= first_day(period, now).isoformat())


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "models": None if key.models is None else list(key.models),
        "tiers": None if key.tiers is None else list(key.tiers),
        **{name: getattr(key.limits, name) for name in _LIMITS},
        "budget_tokens": key.budget.tokens if key.budget else None,
        "budget_period": key.budget.period if key.budget else None,
        "created": key.created,
        "expires": key.expires,
    }


def _key(row: Any) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        prefix=row.prefix,
        role=row.role,
        models=None if row.models is None else tuple(row.models),
        tiers=None if row.tiers is None else tuple(row.tiers),
        limits=Limits(**{name: getattr(row, name) for name in _LIMITS}),
        budget=Budget(row.budget_tokens, row.budget_period) if row.budget_tokens is not None else None,
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
    )
