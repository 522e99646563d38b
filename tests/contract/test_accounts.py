"""Tenants and keys, in both databases."""

from random import Random

import pytest

from services.gateway.accounts.api_keys import ApiKeys, NewKey
from services.gateway.accounts.store import AccountNotFound, AccountStore
from services.gateway.database.engine import Database
from services.gateway.domain.account import ALL_TIERS, Budget, Key, Limits, Tenant
from services.gateway.domain.secrets import ServerSecret
from services.gateway.ledger.entry import Row
from services.gateway.ledger.store import LedgerStore

NOON = 1_790_000_000.0 - 1_790_000_000.0 % 86_400 + 43_200
DAY = 86_400.0
ACME = Tenant("acme", weight=2.0, tiers=("default", "flex"))
KEYS = ApiKeys(ServerSecret("a secret of the tests, long enough"), Random(7))


@pytest.fixture
async def store(database: Database) -> AccountStore:
    made = AccountStore(database)
    await made.put_tenant(ACME)
    return made


def key(new: NewKey, **changes: object) -> Key:
    facts: dict[str, object] = {
        "id": new.id,
        "tenant": "acme",
        "name": "a key",
        "prefix": new.prefix,
        "role": "inference",
        "models": ("m", "n:*"),
        "tiers": ("flex",),
        "limits": Limits(60, None, 5),
        "budget": Budget(1000, "day"),
        "created": NOON,
        "expires": NOON + DAY,
        **changes,
    }
    return Key(**facts)  # type: ignore[arg-type]


async def test_a_key_is_found_by_its_hash_alone(store: AccountStore, database: Database) -> None:
    new = KEYS.mint()
    made = key(new)
    await store.add(made, new)
    found = await store.find(KEYS.digest(new.key), NOON)
    assert found
    assert (found.key, found.tenant, found.used) == (made, ACME, 0)
    assert await store.find(KEYS.digest(new.key + "x"), NOON) is None
    async with database.begin() as connection:
        stored = str((await connection.exec_driver_sql("SELECT * FROM api_keys")).all())
    assert new.prefix in stored
    assert new.key not in stored


async def test_a_revoked_key_stays_revoked(store: AccountStore) -> None:
    new = KEYS.mint()
    await store.add(key(new), new)
    assert (await store.revoke(new.id, NOON)).revoked == NOON
    assert (await store.revoke(new.id, NOON + 5)).revoked == NOON
    found = await store.find(new.digest, NOON)
    assert found
    assert found.key.revoked == NOON
    with pytest.raises(AccountNotFound):
        await store.rotate(new.id, KEYS.mint(), NOON)


async def test_a_rotated_key_has_two_valid_secrets_for_a_while(store: AccountStore) -> None:
    old, new = KEYS.mint(), KEYS.mint()
    await store.add(key(old), old)
    assert (await store.rotate(old.id, new, NOON + 60)).prefix == new.prefix
    for digest, now, known in ((new.digest, NOON, True), (old.digest, NOON + 59, True), (old.digest, NOON + 61, False)):
        found = await store.find(digest, now)
        assert (found is not None and found.key.id == old.id) is known
    await store.revoke(old.id, NOON + 1)
    assert await store.find(old.digest, NOON + 2) is None


async def test_usage_counts_from_the_start_of_the_period(store: AccountStore, database: Database) -> None:
    daily, monthly = KEYS.mint(), KEYS.mint()
    await store.add(key(daily), daily)
    await store.add(key(monthly, budget=Budget(1000, "month")), monthly)
    rows = [
        Row(f"{new.id}-{when}", when, "acme", new.id, "m", "auto", "default", "v", "completed", 7, 2, 3)
        for new in (daily, monthly)
        for when in (NOON, NOON - DAY)
    ]
    await LedgerStore(database).add(rows)
    used = {new.id: await store.find(new.digest, NOON) for new in (daily, monthly)}
    assert [found.used for found in used.values() if found] == [10, 20]


async def test_lists_and_unknown_names(store: AccountStore) -> None:
    first, second = KEYS.mint(), KEYS.mint()
    await store.add(key(first, tenant="default", tiers=None, models=None, budget=None), first)
    await store.add(key(second, created=NOON + 1), second)
    assert [made.id for made in await store.keys_of()] == [second.id, first.id]
    assert [made.id for made in await store.keys_of("default")] == [first.id]
    assert [tenant.name for tenant in await store.tenants()] == ["acme", "default"]
    assert (await store.tenants())[1].tiers == ALL_TIERS
    third = KEYS.mint()
    with pytest.raises(AccountNotFound, match="nobody"):
        await store.add(key(third, tenant="nobody"), third)
    for ask in (store.get, lambda name: store.revoke(name, NOON)):
        with pytest.raises(AccountNotFound):
            await ask("key_0")


async def test_a_tenant_changes_for_all_its_keys(store: AccountStore) -> None:
    new = KEYS.mint()
    await store.add(key(new), new)
    await store.put_tenant(Tenant("acme", 5.0, ("batch",)))
    found = await store.find(new.digest, NOON)
    assert found
    assert found.tenant == Tenant("acme", 5.0, ("batch",))
