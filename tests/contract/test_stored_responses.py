"""Stored responses in both databases: by tenant, for a while, within bounds, encrypted if there is a key."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.database.engine import Database, DatabaseAway
from services.gateway.database.tables import responses
from services.gateway.stored_responses import store as store_module
from services.gateway.stored_responses.bounds import Bounds
from services.gateway.stored_responses.cipher import Cipher
from services.gateway.stored_responses.store import LAPSE_S, StoredResponses, TooLargeToStore
from services.gateway.stored_responses.stored_response import OPEN, StoredResponse
from services.shared.errors import InvalidRequest, NotFound
from tests.support.clock import ManualClock

HOUR = 3600.0
BOUNDS = Bounds(lifetime_s=HOUR, count=100, size=1 << 20)


def name(number: int) -> str:
    return f"resp_{number:032x}"


def response(number: int, **changes: Any) -> StoredResponse:
    facts: dict[str, Any] = {
        "id": name(number),
        "tenant": "acme",
        "created": 1000.0,
        "status": "completed",
        "document": {"id": name(number), "status": "completed", "output": []},
        "input": [{"type": "message", "id": "msg_1", "role": "user", "content": "secret words"}],
        **changes,
    }
    return StoredResponse(**facts)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def store(database: Database, clock: ManualClock) -> StoredResponses:
    return StoredResponses(database, Cipher(None), BOUNDS, clock)


async def count(database: Database) -> int:
    async with database.begin() as connection:
        return int(await connection.scalar(select(func.count()).select_from(responses)) or 0)


async def test_a_response_comes_back_as_it_was(store: StoredResponses) -> None:
    await store.add(response(1))
    assert await store.get("acme", name(1)) == response(1)
    assert await store.find("acme", [name(2), name(1)]) == [response(1)]


async def test_unknown_ids_are_not_found(store: StoredResponses) -> None:
    garbage = ["", "resp_1", name(9), "resp_" + "g" * 32, "'; DROP TABLE responses", "\x00", "é" * 500]
    for response_id in garbage:
        for ask in (store.get, store.delete):
            with pytest.raises(NotFound):
                await ask("acme", response_id)
        with pytest.raises(InvalidRequest) as refused:
            await store.chain("acme", response_id)
        assert refused.value.code == "previous_response_not_found"


async def test_a_tenant_has_only_its_own(store: StoredResponses) -> None:
    await store.add(response(1))
    await store.add(response(2, tenant="other", previous=name(1)))
    for ask in (store.get, store.delete):
        with pytest.raises(NotFound):
            await ask("other", name(1))
    assert await store.find("other", [name(1)]) == []
    for previous in (1, 2):
        with pytest.raises(InvalidRequest, match=r"not found|deleted"):
            await store.chain("other", name(previous))
    assert await store.get("acme", name(1)) == response(1)


async def test_a_response_expires(store: StoredResponses, clock: ManualClock, database: Database) -> None:
    await store.add(response(1))
    await clock.advance(HOUR)
    with pytest.raises(NotFound):
        await store.get("acme", name(1))
    assert await count(database) == 1
    assert await store.sweep() == 1
    assert await count(database) == 0


async def test_a_chain_is_told_from_its_beginning(store: StoredResponses) -> None:
    await store.add(response(1))
    await store.add(response(2, previous=name(1)))
    await store.add(response(3, previous=name(2)))
    await store.add(response(4, previous=name(1)))
    assert [one.id for one in await store.chain("acme", name(3))] == [name(1), name(2), name(3)]
    assert [one.id for one in await store.chain("acme", name(4))] == [name(1), name(4)]
    await store.delete("acme", name(2))
    with pytest.raises(InvalidRequest, match="deleted or has expired"):
        await store.chain("acme", name(3))


async def test_a_chain_is_bounded(store: StoredResponses, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_CHAIN", 3)
    await store.add(response(1))
    for number in (2, 3, 4):
        await store.add(response(number, previous=name(number - 1)))
    assert len(await store.chain("acme", name(3))) == 3
    with pytest.raises(InvalidRequest, match="too long") as refused:
        await store.chain("acme", name(4))
    assert refused.value.param == "previous_response_id"
    async with database.begin() as connection:  # a chain without an end, which no client can make
        await connection.execute(update(responses).where(responses.c.id == name(1)).values(previous=name(2)))
    with pytest.raises(InvalidRequest, match="too long"):
        await store.chain("acme", name(2))
    monkeypatch.setattr(store_module, "MAX_CHAIN_BYTES", 10)
    with pytest.raises(InvalidRequest, match="too long"):
        await store.chain("acme", name(1))


async def test_a_response_that_is_too_large_is_not_stored(
    store: StoredResponses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_RESPONSE_BYTES", 10)
    with pytest.raises(TooLargeToStore):
        await store.add(response(1))


async def test_only_an_open_response_ends(store: StoredResponses) -> None:
    await store.add(response(1, status="in_progress"))
    with pytest.raises(InvalidRequest, match="has not ended"):
        await store.chain("acme", name(1))
    assert await store.end(response(1))
    assert not await store.end(response(1, status="failed"))
    assert (await store.get("acme", name(1))).status == "completed"
    await store.add(response(2, status="in_progress"))
    await store.delete("acme", name(2))
    assert not await store.end(response(2))
    with pytest.raises(NotFound):
        await store.get("acme", name(2))


async def test_a_response_that_nobody_makes_any_more_has_failed(store: StoredResponses, clock: ManualClock) -> None:
    await store.add(response(1, status="in_progress"))
    await clock.advance(LAPSE_S - 1)
    await store.sweep()
    assert (await store.get("acme", name(1))).status == "in_progress"
    await clock.advance(1)
    assert (await store.get("acme", name(1))).status == "failed"  # before any sweep
    await store.sweep()
    shown = (await store.get("acme", name(1))).shown()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")
    assert not await store.end(response(1))


async def test_the_oldest_go_when_a_tenant_has_too_many(database: Database, clock: ManualClock) -> None:
    store = StoredResponses(database, Cipher(None), Bounds(HOUR, count=3, size=1 << 20), clock)
    for number in range(6):
        await store.add(response(number, created=1000.0 + number, status="in_progress" if number == 0 else "completed"))
    await store.add(response(9, tenant="other"))
    assert await store.sweep() == 3
    left = await store.find("acme", [name(number) for number in range(6)])
    assert sorted(one.id for one in left) == [name(0), name(4), name(5)]
    assert (await store.get("other", name(9))).tenant == "other"
    small = StoredResponses(database, Cipher(None), Bounds(HOUR, count=100, size=300), clock)
    assert await small.sweep() >= 1
    assert await store.sweep() == 0


class Watched:
    """A database that notes how many bytes of responses each transaction leaves, and how many are open."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.left: list[tuple[int, int]] = []

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.begin() as connection:
            yield connection
            still_open = func.count(case((responses.c.status.in_(OPEN), 1)))
            sums = select(func.coalesce(func.sum(responses.c.size), 0), still_open)
            size, number = (await connection.execute(sums)).one()
            self.left.append((int(size), int(number)))

    def changes(self, what: int) -> list[int]:
        """Returns by how much each transaction lessened bytes (0) or open responses (1), where it did."""
        values = [each[what] for each in self.left]
        return [before - after for before, after in pairwise(values) if before != after]


@pytest.mark.parametrize("reason", ["expired", "too many"])
async def test_no_transaction_of_a_sweep_deletes_many_bytes(
    reason: str, store: StoredResponses, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        await store.add(response(number, created=1000.0 + number))
    async with database.begin() as connection:
        [size] = set(await connection.scalars(select(responses.c.size)))
        await connection.execute(update(responses).where(responses.c.id == name(3)).values(size=5 * size))
    monkeypatch.setattr(store_module, "SWEPT_BYTES", 2 * size)
    kept = 0 if reason == "too many" else 100
    if reason == "expired":
        await clock.advance(2 * HOUR)
    watched = Watched(database)
    sweeping = StoredResponses(cast(Database, watched), Cipher(None), Bounds(HOUR, kept, 1 << 20), clock)
    assert await sweeping.sweep() == 7
    # In order of age: two, one that only the next would make too many, the large one by itself, two, and the last.
    assert watched.changes(0) == [2 * size, size, 5 * size, 2 * size, size]


async def test_what_a_sweep_has_deleted_stays_deleted_when_the_database_goes_away(
    store: StoredResponses, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await store.add(response(number))
    await clock.advance(HOUR)
    monkeypatch.setattr(store_module, "SWEPT_BYTES", 1)
    begin, transactions = database.begin, iter(range(100))

    def leaving() -> AbstractAsyncContextManager[AsyncConnection]:
        if next(transactions) == 4:  # two have looked for what is to be done, and two have deleted a response each
            raise DatabaseAway("TimeoutError")
        return begin()

    monkeypatch.setattr(database, "begin", leaving)
    with pytest.raises(DatabaseAway):
        await store.sweep()
    assert await count(database) == 2
    assert await store.sweep() == 2


async def test_no_transaction_of_a_sweep_fails_many_bytes_of_responses(
    store: StoredResponses, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await store.add(response(number, status="in_progress"))
    await clock.advance(LAPSE_S)
    async with database.begin() as connection:
        [size] = set(await connection.scalars(select(responses.c.size)))
    monkeypatch.setattr(store_module, "SWEPT_BYTES", 2 * size)
    watched = Watched(database)
    await StoredResponses(cast(Database, watched), Cipher(None), BOUNDS, clock).sweep()
    assert watched.changes(1) == [2, 2, 1]
    assert (await store.get("acme", name(4))).status == "failed"


async def test_with_a_key_nothing_can_be_read_without_it(database: Database, clock: ManualClock) -> None:
    sealed = StoredResponses(database, Cipher("k" * 32), BOUNDS, clock)
    await sealed.add(response(1))
    assert await sealed.get("acme", name(1)) == response(1)
    async with database.begin() as connection:
        row = (await connection.execute(select(responses))).one()
        assert b"secret" not in row.input
        # A row moved to another tenant cannot be read there.
        await connection.execute(update(responses).values(tenant="other"))
    with pytest.raises(NotFound):
        await sealed.get("other", name(1))
    plain = StoredResponses(database, Cipher(None), BOUNDS, clock)
    await plain.add(response(2))
    assert await sealed.get("acme", name(2)) == response(2)
    await sealed.add(response(3))
    for other in (plain, StoredResponses(database, Cipher("l" * 32), BOUNDS, clock)):
        with pytest.raises(NotFound):
            await other.get("acme", name(3))
        with pytest.raises(InvalidRequest):
            await other.chain("acme", name(3))
