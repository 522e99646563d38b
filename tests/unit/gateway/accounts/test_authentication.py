"""Keys of the settings and of the database, and what is valid while the database is away."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from services.gateway.accounts.api_keys import ApiKeys
from services.gateway.accounts.authentication import ASK_AGAIN_S, FRESH_S, MAX_CACHED, Authentication, KeyCache
from services.gateway.accounts.store import Found
from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.account import Budget, Key, Limits, Tenant
from services.gateway.domain.secrets import ServerSecret
from services.shared.errors import Overloaded, QuotaExceeded, Unauthenticated
from tests.support.clock import ManualClock

KEYS = ApiKeys(ServerSecret("a secret of the tests, long enough"), Random(1))
NEW = KEYS.mint()
KEY = Key(NEW.id, "acme", "n", NEW.prefix, "inference", None, None, Limits(), Budget(10, "day"), 0.0)


class FakeStore:
    """A database with one key."""

    def __init__(self) -> None:
        self.found: Found | None = Found(KEY, Tenant("acme"), 0)
        self.away = False
        self.lookups = 0

    async def find(self, digest: str, now: float) -> Found | None:
        self.lookups += 1
        await asyncio.sleep(0)
        if self.away:
            raise DatabaseAway("test")
        return self.found if digest == NEW.digest else None

    def change(self, **changes: object) -> None:
        assert self.found
        self.found = replace(self.found, key=replace(self.found.key, **changes))  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def authentication(store: FakeStore, clock: ManualClock) -> Authentication:
    by_digest, by_id = KeyCache(store.find, clock), KeyCache(store.find, clock)
    return Authentication("inference-key-of-tests", "admin-key-of-the-tests", KEYS, by_digest, by_id, clock)


def bearer(value: str | None) -> list[tuple[str, str]]:
    return [] if value is None else [("authorization", value)]


BEARER = bearer(f"Bearer {NEW.key}")


async def test_keys_of_the_settings_need_no_database(authentication: Authentication, store: FakeStore) -> None:
    assert (await authentication.authenticate(bearer("Bearer inference-key-of-tests"))).role == "inference"
    assert (await authentication.authenticate(bearer("bearer admin-key-of-the-tests"))).role == "admin"
    assert store.lookups == 0


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer nope", "Basic inference-key-of-tests", "\xff", f"Bearer {NEW.key}x"],
)
async def test_a_string_that_was_never_a_key_is_refused_without_a_lookup(
    authentication: Authentication, store: FakeStore, header: str | None
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await authentication.authenticate(bearer(header))
    assert "nope" not in refused.value.message
    assert store.lookups == 0


async def test_many_requests_share_one_lookup(authentication: Authentication, store: FakeStore) -> None:
    callers = await asyncio.gather(*(authentication.authenticate(BEARER) for _ in range(20)))
    assert {caller.key_id for caller in callers} == {NEW.id}
    assert store.lookups == 1


@pytest.mark.parametrize("end", [lambda store: store.change(revoked=5.0), lambda store: setattr(store, "found", None)])
async def test_a_key_that_ends_is_refused_within_seconds(
    authentication: Authentication, store: FakeStore, clock: ManualClock, end: Callable[[FakeStore], None]
) -> None:
    await authentication.authenticate(BEARER)
    end(store)
    await clock.advance(FRESH_S)
    with pytest.raises(Unauthenticated):
        await authentication.authenticate(BEARER)


async def test_a_key_expires_on_time(authentication: Authentication, store: FakeStore, clock: ManualClock) -> None:
    store.change(expires=clock.wall() + 1)
    await authentication.authenticate(BEARER)
    await clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        await authentication.authenticate(BEARER)


async def test_cached_keys_stay_valid_while_the_database_is_away(
    authentication: Authentication, store: FakeStore, clock: ManualClock
) -> None:
    await authentication.authenticate(BEARER)
    store.away = True
    for _ in range(10):
        await clock.advance(FRESH_S)
        assert (await authentication.authenticate(BEARER)).key_id == NEW.id
        lookups = store.lookups
        await authentication.authenticate(BEARER)
        assert store.lookups == lookups, "looked up again at once"
    store.away = False
    store.change(revoked=5.0)
    await clock.advance(max(FRESH_S, ASK_AGAIN_S))
    with pytest.raises(Unauthenticated):
        await authentication.authenticate(BEARER)


async def test_a_key_that_is_not_cached_has_to_wait_for_the_database(
    authentication: Authentication, store: FakeStore
) -> None:
    store.away = True
    with pytest.raises(Overloaded) as refused:
        await authentication.authenticate(BEARER)
    assert refused.value.retry_after_s


async def test_what_a_running_request_uses_counts_after_the_key_was_read_again(
    authentication: Authentication, store: FakeStore, clock: ManualClock
) -> None:
    before = await authentication.authenticate(BEARER)
    await clock.advance(FRESH_S)
    after = await authentication.authenticate(BEARER)
    assert store.lookups == 2
    before.spend(10)
    with pytest.raises(QuotaExceeded):
        after.check_budget(clock.wall())


async def test_memory_is_bounded(clock: ManualClock, store: FakeStore) -> None:
    cache = KeyCache(store.find, clock)
    for number in range(MAX_CACHED + 5):
        await cache.get(str(number))
    await cache.get(str(MAX_CACHED))
    lookups = store.lookups
    await cache.get("0")
    assert store.lookups == lookups + 1
