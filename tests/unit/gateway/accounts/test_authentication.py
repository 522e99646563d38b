"""Keys of the settings and of the database; what holds while the database is away."""

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


class Keeper:
    """A database with one key."""

    def __init__(self) -> None:
        self.found: Found | None = Found(KEY, Tenant("acme"), 0)
        self.away = False
        self.asked = 0

    async def find(self, digest: str, now: float) -> Found | None:
        self.asked += 1
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
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def door(keeper: Keeper, clock: ManualClock) -> Authentication:
    by_digest, by_id = KeyCache(keeper.find, clock), KeyCache(keeper.find, clock)
    return Authentication("inference-key-of-tests", "admin-key-of-the-tests", KEYS, by_digest, by_id, clock)


BEARER = f"Bearer {NEW.key}"


async def test_keys_of_the_settings_need_no_database(door: Authentication, keeper: Keeper) -> None:
    assert (await door.authenticate("Bearer inference-key-of-tests")).role == "inference"
    assert (await door.authenticate("bearer admin-key-of-the-tests")).role == "admin"
    assert keeper.asked == 0


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer nope", "Basic inference-key-of-tests", "\xff", BEARER + "x"]
)
async def test_what_was_never_a_key_is_refused_without_asking(
    door: Authentication, keeper: Keeper, header: str | None
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await door.authenticate(header)
    assert "nope" not in refused.value.message
    assert keeper.asked == 0


async def test_many_requests_ask_once(door: Authentication, keeper: Keeper) -> None:
    callers = await asyncio.gather(*(door.authenticate(BEARER) for _ in range(20)))
    assert {caller.key_id for caller in callers} == {NEW.id}
    assert keeper.asked == 1


@pytest.mark.parametrize(
    "end", [lambda keeper: keeper.change(revoked=5.0), lambda keeper: setattr(keeper, "found", None)]
)
async def test_a_key_that_ends_is_refused_within_seconds(
    door: Authentication, keeper: Keeper, clock: ManualClock, end: Callable[[Keeper], None]
) -> None:
    await door.authenticate(BEARER)
    end(keeper)
    await clock.advance(FRESH_S)
    with pytest.raises(Unauthenticated):
        await door.authenticate(BEARER)


async def test_a_key_expires_on_time(door: Authentication, keeper: Keeper, clock: ManualClock) -> None:
    keeper.change(expires=clock.wall() + 1)
    await door.authenticate(BEARER)
    await clock.advance(1)
    with pytest.raises(Unauthenticated, match="expired"):
        await door.authenticate(BEARER)


async def test_known_keys_outlive_the_database(door: Authentication, keeper: Keeper, clock: ManualClock) -> None:
    await door.authenticate(BEARER)
    keeper.away = True
    for _ in range(10):
        await clock.advance(FRESH_S)
        assert (await door.authenticate(BEARER)).key_id == NEW.id
        asked = keeper.asked
        await door.authenticate(BEARER)
        assert keeper.asked == asked, "asked again at once"
    keeper.away = False
    keeper.change(revoked=5.0)
    await clock.advance(max(FRESH_S, ASK_AGAIN_S))
    with pytest.raises(Unauthenticated):
        await door.authenticate(BEARER)


async def test_a_key_never_seen_has_to_wait_for_the_database(door: Authentication, keeper: Keeper) -> None:
    keeper.away = True
    with pytest.raises(Overloaded) as refused:
        await door.authenticate(BEARER)
    assert refused.value.retry_after_s


async def test_what_a_running_request_uses_counts_after_the_key_was_read_again(
    door: Authentication, keeper: Keeper, clock: ManualClock
) -> None:
    before = await door.authenticate(BEARER)
    await clock.advance(FRESH_S)
    after = await door.authenticate(BEARER)
    assert keeper.asked == 2
    before.spend(10)
    with pytest.raises(QuotaExceeded):
        after.check_budget(clock.wall())


async def test_memory_is_bounded(clock: ManualClock, keeper: Keeper) -> None:
    cache = KeyCache(keeper.find, clock)
    for number in range(MAX_CACHED + 5):
        await cache.get(str(number))
    await cache.get(str(MAX_CACHED))
    asked = keeper.asked
    await cache.get("0")
    assert keeper.asked == asked + 1
