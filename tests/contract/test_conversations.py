"""Conversations in both databases: by tenant, in order, for a while, within bounds, encrypted if there is a key."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, select, update

from services.gateway.database.engine import Database
from services.gateway.database.tables import conversation_items as items_table
from services.gateway.database.tables import conversations
from services.gateway.stored_responses import conversations as conversations_module
from services.gateway.stored_responses.bounds import Bounds
from services.gateway.stored_responses.cipher import Cipher
from services.gateway.stored_responses.conversation import Conversation
from services.gateway.stored_responses.conversations import Conversations
from services.gateway.stored_responses.store import StoredResponses
from services.gateway.stored_responses.stored_response import Document, StoredResponse
from services.shared.clock import SystemClock
from services.shared.errors import InvalidRequest, NotFound
from tests.support.clock import ManualClock

HOUR = 3600.0
BOUNDS = Bounds(lifetime_s=HOUR, count=100, size=1 << 20)
GARBAGE = ["", "conv_1", "conv_" + "9" * 32, "'; DROP TABLE conversations", "\x00", "é" * 500]


def name(number: int) -> str:
    return f"conv_{number:032x}"


def conversation(number: int, **changes: Any) -> Conversation:
    facts: dict[str, Any] = {"id": name(number), "tenant": "acme", "created": 1000.0, "metadata": {"a": "b"}, **changes}
    return Conversation(**facts)


def said(*numbers: int) -> list[Document]:
    return [{"type": "message", "id": item_id(number), "content": f"secret {number}"} for number in numbers]


def item_id(number: int) -> str:
    return f"msg_{number:032x}i000"


def numbers(items: Sequence[Document]) -> list[int]:
    return [int(item["id"][4:36], 16) for item in items]


def response(number: int, **changes: Any) -> StoredResponse:
    facts: dict[str, Any] = {
        "id": f"resp_{number:032x}",
        "tenant": "acme",
        "created": 1000.0,
        "status": "completed",
        "input": said(2 * number),
        "document": {"status": "completed", "output": said(2 * number + 1)},
        "conversation": name(1),
        **changes,
    }
    return StoredResponse(**facts)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def store(database: Database, clock: ManualClock) -> StoredResponses:
    return StoredResponses(database, Cipher(None), BOUNDS, clock)


@pytest.fixture
def kept(store: StoredResponses) -> Conversations:
    return store.conversations


async def count(database: Database) -> tuple[int, int]:
    """Of conversations and items."""
    async with database.begin() as connection:
        found = [await connection.scalar(select(func.count()).select_from(it)) for it in (conversations, items_table)]
        return found[0] or 0, found[1] or 0


async def sums(database: Database) -> tuple[int, int]:
    """Length and bytes of the one conversation, which must be those of its items."""
    async with database.begin() as connection:
        noted = (await connection.execute(select(conversations.c.length, conversations.c.size))).one()
        real = select(func.count(), func.coalesce(func.sum(items_table.c.size), 0))
        assert tuple((await connection.execute(real)).one()) == tuple(noted)
        return noted.length, noted.size


async def test_items_stay_in_order(kept: Conversations, database: Database) -> None:
    await kept.create(conversation(1), said(1, 2))
    await kept.add("acme", name(1), said(4, 3))
    assert await kept.get("acme", name(1)) == conversation(1)
    assert numbers(await kept.history("acme", name(1))) == [1, 2, 4, 3]
    assert await kept.item("acme", name(1), item_id(4)) == said(4)[0]
    assert (await sums(database))[0] == 4


async def test_pages(kept: Conversations) -> None:
    async def page(after: int | None = None, **how: Any) -> tuple[list[int], bool]:
        named = None if after is None else item_id(after)
        items, more = await kept.page("acme", name(1), after=named, **{"limit": 2, "newest_first": False, **how})
        return numbers(items), more

    await kept.create(conversation(1), said(1, 2, 3, 4, 5))
    await kept.create(conversation(2), said(6))
    assert await page() == ([1, 2], True)
    assert await page(after=2) == ([3, 4], True)
    assert await page(after=4) == ([5], False)
    assert await page(after=5) == ([], False)
    assert await page(newest_first=True) == ([5, 4], True)
    assert await page(after=2, newest_first=True, limit=1) == ([1], False)
    with pytest.raises(NotFound) as refused:
        await page(after=6)  # of another conversation
    assert refused.value.param == "after"


async def test_labels_and_items_change(kept: Conversations, database: Database) -> None:
    await kept.create(conversation(1), said(1, 2, 3))
    assert (await kept.relabel("acme", name(1), {"c": "d"})).metadata == {"c": "d"}
    assert (await kept.delete_item("acme", name(1), item_id(2))).metadata == {"c": "d"}
    with pytest.raises(NotFound) as refused:
        await kept.delete_item("acme", name(1), item_id(2))
    assert refused.value.param == "item_id"
    await kept.add("acme", name(1), said(4))
    assert numbers(await kept.history("acme", name(1))) == [1, 3, 4]
    assert (await sums(database))[0] == 3
    await kept.delete("acme", name(1))
    assert await count(database) == (0, 0)


async def test_unknown_ids_are_not_found(kept: Conversations) -> None:
    await kept.create(conversation(1), said(1))
    for garbage in GARBAGE:
        for ask in (kept.get, kept.delete, kept.history):
            with pytest.raises(NotFound):
                await ask("acme", garbage)
        for asking in (kept.relabel("acme", garbage, {}), kept.add("acme", garbage, said(2))):
            with pytest.raises(NotFound) as refused:
                await asking
            assert refused.value.param == "conversation_id"
        for ask_item in (kept.item, kept.delete_item):
            with pytest.raises(NotFound):
                await ask_item("acme", name(1), garbage)


async def test_a_tenant_has_only_its_own(store: StoredResponses, kept: Conversations) -> None:
    await kept.create(conversation(1), said(1))
    for ask in (kept.get, kept.delete, kept.history):
        with pytest.raises(NotFound):
            await ask("other", name(1))
    for asking in (
        kept.relabel("other", name(1), {}),
        kept.add("other", name(1), said(2)),
        kept.item("other", name(1), item_id(1)),
        kept.delete_item("other", name(1), item_id(1)),
        kept.page("other", name(1), after=None, limit=9, newest_first=True),
    ):
        with pytest.raises(NotFound):
            await asking
    await store.add(response(5, tenant="other"))
    assert await kept.get("acme", name(1)) == conversation(1)
    assert numbers(await kept.history("acme", name(1))) == [1]


async def test_it_expires_when_nothing_was_added(kept: Conversations, clock: ManualClock, database: Database) -> None:
    await kept.create(conversation(1), said(1))
    await kept.create(conversation(2), said(2))
    await clock.advance(HOUR / 2)
    await kept.add("acme", name(2), said(3))
    await clock.advance(HOUR / 2)
    with pytest.raises(NotFound):
        await kept.get("acme", name(1))
    assert await count(database) == (2, 3)
    assert await kept.sweep() == 1
    assert await count(database) == (1, 2)
    assert numbers(await kept.history("acme", name(2))) == [2, 3]


async def test_a_response_adds_its_turn_when_it_has_ended(store: StoredResponses, kept: Conversations) -> None:
    await kept.create(conversation(1), [])
    call = {"type": "function_call", "id": f"fc_{9:032x}01", "status": "incomplete"}
    cut_short = {"output": [*said(3), call]}
    await store.add(response(1, status="incomplete", document=cut_short))
    assert numbers(await kept.history("acme", name(1))) == [2, 3]
    for number, status in enumerate(("cancelled", "failed"), 5):
        await store.add(response(number, status=status))
    await store.add(response(2, status="in_progress", document={"output": []}))
    assert numbers(await kept.history("acme", name(1))) == [2, 3]
    assert await store.end(response(2))
    assert not await store.end(response(2))
    assert numbers(await kept.history("acme", name(1))) == [2, 3, 4, 5]


async def test_a_response_is_kept_if_its_conversation_is_gone(store: StoredResponses, database: Database) -> None:
    await store.conversations.create(conversation(1), said(1))
    await store.conversations.delete("acme", name(1))
    await store.add(response(1))
    assert (await store.get("acme", response(1).id)).document["output"] == said(3)
    assert await count(database) == (0, 0)


async def test_turns_that_end_at_once_stand_one_after_another(
    database: Database, database_url: str, clock: ManualClock
) -> None:
    """As of two gateways."""
    other = Database(database_url, clock=SystemClock(), random=Random(1))
    await other.migrate()
    stores = [StoredResponses(each, Cipher(None), BOUNDS, clock) for each in (database, other)]
    kept = stores[0].conversations
    await kept.create(conversation(1), said(1))
    turns = [stores[number % 2].add(response(number)) for number in range(2, 10)]
    adds = [stores[number % 2].conversations.add("acme", name(1), said(number, number + 1)) for number in (100, 102)]
    delete = stores[1].conversations.delete_item("acme", name(1), item_id(1))
    await asyncio.gather(*turns, *adds, delete)
    found = numbers(await kept.history("acme", name(1)))
    assert all(found[place] + 1 == found[place + 1] for place in range(0, len(found), 2))
    assert sorted(found) == [*range(4, 20), *range(100, 104)]
    assert (await sums(database))[0] == 20
    await asyncio.gather(
        *(stores[number % 2].add(response(number)) for number in range(20, 26)),
        *(kept.delete_item("acme", name(1), item_id(number)) for number in range(4, 10)),
        stores[1].conversations.delete("acme", name(1)),
        return_exceptions=True,
    )
    assert await count(database) == (0, 0)
    await other.close()


async def test_a_full_conversation_takes_no_more(
    store: StoredResponses, kept: Conversations, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(conversations_module, "MAX_ITEMS", 3)
    with pytest.raises(InvalidRequest, match="too long"):
        await kept.create(conversation(1), said(1, 2, 3, 4))
    assert await count(database) == (0, 0)
    await kept.create(conversation(1), said(1, 2, 3))
    with pytest.raises(InvalidRequest) as refused:
        await kept.add("acme", name(1), said(4))
    assert (refused.value.param, refused.value.code) == ("items", "conversation_too_long")
    await store.add(response(5))  # It had begun before.
    with pytest.raises(InvalidRequest) as refused:
        await kept.history("acme", name(1))
    assert (refused.value.param, refused.value.code) == ("conversation", "conversation_too_long")
    await kept.delete_item("acme", name(1), item_id(1))
    await kept.delete_item("acme", name(1), item_id(2))
    assert numbers(await kept.history("acme", name(1))) == [3, 10, 11]
    monkeypatch.setattr(conversations_module, "MAX_BYTES", 10)
    with pytest.raises(InvalidRequest, match="too long"):
        await kept.history("acme", name(1))


async def test_those_that_are_longest_unused_go_when_a_tenant_has_too_many(
    database: Database, clock: ManualClock
) -> None:
    def bounded(**bounds: Any) -> Conversations:
        return Conversations(database, Cipher(None), Bounds(**{"lifetime_s": HOUR, **bounds}), clock)

    roomy = bounded(count=100, size=1 << 20)
    for number in range(4):
        await roomy.create(conversation(number, created=1000.0 + number), said(number))
    await clock.advance(10)
    await roomy.add("acme", name(0), said(100))
    await roomy.create(conversation(9, tenant="other"), said(9))
    few = bounded(count=3, size=1 << 20)
    assert await few.sweep() == 1
    with pytest.raises(NotFound):
        await few.get("acme", name(1))
    assert numbers(await few.history("acme", name(0))) == [0, 100]
    await few.create(conversation(5, created=1010.0), said(5))  # At once, for clients may make them quickly.
    assert await count(database) == (4, 5)
    with pytest.raises(NotFound):
        await few.get("acme", name(2))
    small = bounded(count=100, size=300)
    await small.add("acme", name(0), said(101))
    assert (await small.get("acme", name(0))).id == name(0)
    assert (await small.get("other", name(9))).tenant == "other"
    with pytest.raises(NotFound):
        await small.get("acme", name(3))
    assert await small.sweep() == 0


async def test_with_a_key_nothing_can_be_read_without_it(database: Database, clock: ManualClock) -> None:
    def with_key(key: str | None) -> Conversations:
        return Conversations(database, Cipher(key), BOUNDS, clock)

    sealed = with_key("k" * 32)
    await sealed.create(conversation(1, metadata={"topic": "secret"}), said(1))
    assert await sealed.history("acme", name(1)) == said(1)
    async with database.begin() as connection:
        assert b"secret" not in (await connection.execute(select(conversations))).one().metadata
        assert b"secret" not in (await connection.execute(select(items_table))).one().document
    for other in (with_key(None), with_key("l" * 32)):
        for asking in (
            other.get("acme", name(1)),
            other.history("acme", name(1)),
            other.add("acme", name(1), said(2)),
            other.relabel("acme", name(1), {}),
        ):
            with pytest.raises(NotFound):
                await asking
    async with database.begin() as connection:  # A row moved to another tenant cannot be read there.
        await connection.execute(update(conversations).values(tenant="other"))
    with pytest.raises(NotFound):
        await sealed.get("other", name(1))
    await with_key(None).create(conversation(2), said(2))
    assert await sealed.history("acme", name(2)) == said(2)
