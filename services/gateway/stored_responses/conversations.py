"""Conversations in the database, by tenant. No tenant sees or changes those of another.

A conversation is kept for the lifetime of stored responses, counted from when something was last added to it. Items
keep the order in which they were added; those that are added together stand together.

Every transaction locks at most one conversation, and locks it before its items. So none waits for another in a circle.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.database.engine import Database, DatabaseAway
from services.gateway.database.tables import conversation_items as items_table
from services.gateway.database.tables import conversations
from services.gateway.stored_responses.bounds import Bounds
from services.gateway.stored_responses.cipher import Cipher, Unreadable
from services.gateway.stored_responses.conversation import Conversation, is_conversation_id
from services.gateway.stored_responses.stored_response import Document, is_item_id
from services.shared.clock import Clock
from services.shared.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)

MAX_ITEMS = 2048
MAX_BYTES = 16 << 20
"""Of all items of a conversation. A response that has begun still adds what it says; then the conversation is full."""
ROWS = 50
"""Most conversations that are chosen at once to be deleted."""
MAX_ROUNDS = 20
IN_REQUEST = "conversation"
"""The field of a request for a response that names a conversation."""


class Conversations:
    """Keeps conversations. Every method is one transaction, or a few, and may raise DatabaseAway."""

    def __init__(self, database: Database, cipher: Cipher, bounds: Bounds, clock: Clock) -> None:
        self._database, self._cipher, self._bounds, self._clock = database, cipher, bounds, clock

    async def create(self, conversation: Conversation, items: Sequence[Document]) -> None:
        """Stores a new conversation. If the tenant then has too many, those that are longest unused are deleted.

        Raises:
            InvalidRequest: the items are too large.
        """
        row = {
            "id": conversation.id,
            "tenant": conversation.tenant,
            "created": conversation.created,
            "used": conversation.created,
            "expires": conversation.created + self._bounds.lifetime_s,
            "next_position": 0,
            "length": 0,
            "size": 0,
            "metadata": self._sealed_metadata(conversation),
        }
        async with self._database.begin() as connection:
            await connection.execute(insert(conversations).values(row))
            await self._add(connection, conversation.tenant, conversation.id, items)
        await self._make_room(conversation.tenant)

    async def get(self, tenant: str, conversation_id: str) -> Conversation:
        """Returns a conversation.

        Raises:
            NotFound: the tenant has no such conversation, or it has expired.
        """
        async with self._database.begin() as connection:
            return self._read(await self._row(connection, tenant, conversation_id))

    async def relabel(self, tenant: str, conversation_id: str, metadata: dict[str, str]) -> Conversation:
        """Replaces the metadata of a conversation, and returns it. Raises NotFound like `get`."""
        async with self._database.begin() as connection:
            found = self._read(await self._row(connection, tenant, conversation_id, lock=True))
            changed = replace(found, metadata=metadata)
            values = {"metadata": self._sealed_metadata(changed)}
            await connection.execute(update(conversations).where(conversations.c.id == found.id).values(values))
        return changed

    async def delete(self, tenant: str, conversation_id: str) -> None:
        """Deletes a conversation with its items. Responses that belonged to it stay. Raises NotFound like `get`."""
        async with self._database.begin() as connection:
            row = await self._row(connection, tenant, conversation_id, lock=True)
            await connection.execute(delete(conversations).where(conversations.c.id == row.id))

    async def add(self, tenant: str, conversation_id: str, items: Sequence[Document]) -> None:
        """Adds items at the end.

        Args:
            tenant: owns the conversation.
            conversation_id: of the conversation.
            items: each with an id that the conversation does not have yet.

        Raises:
            NotFound: the tenant has no such conversation, or it has expired.
            InvalidRequest: the conversation has no room for them.
        """
        async with self._database.begin() as connection:
            await self._row(connection, tenant, conversation_id, lock=True)
            await self._add(connection, tenant, conversation_id, items)
        await self._make_room(tenant)

    async def append(
        self, connection: AsyncConnection, tenant: str, conversation_id: str, items: Sequence[Document]
    ) -> Row[Any] | None:
        """Adds what a response said, in the transaction that stores it, however full the conversation is.

        Returns:
            The conversation's `length` and `size` now; None if it is gone.
        """
        sealed = [(item["id"], self._cipher.write(item, _place(tenant, conversation_id, item["id"]))) for item in items]
        now, size = self._clock.wall(), sum(len(document) for _, document in sealed)
        grown = (
            update(conversations)
            .where(self._mine(tenant, conversation_id))
            .values(
                next_position=conversations.c.next_position + len(sealed),
                length=conversations.c.length + len(sealed),
                size=conversations.c.size + size,
                used=now,
                expires=now + self._bounds.lifetime_s,
            )
            .returning(conversations.c.next_position, conversations.c.length, conversations.c.size)
        )
        row = (await connection.execute(grown)).one_or_none()
        if row and sealed:
            rows = [
                {"conversation": conversation_id, "position": position, "id": item_id, "size": len(it), "document": it}
                for position, (item_id, it) in enumerate(sealed, row.next_position - len(sealed))
            ]
            await connection.execute(insert(items_table), rows)
        return row

    async def page(
        self, tenant: str, conversation_id: str, *, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[Document], bool]:
        """Returns some items, and whether more follow.

        Args:
            tenant: owns the conversation.
            conversation_id: of the conversation.
            after: id of the item before the first one; None: from the beginning.
            limit: most items.
            newest_first: the order.

        Raises:
            NotFound: there is no such conversation, or no item `after`.
        """
        position = items_table.c.position
        some = select(items_table).where(items_table.c.conversation == conversation_id)
        async with self._database.begin() as connection:
            await self._row(connection, tenant, conversation_id)
            if after is not None:
                last = (await self._item(connection, conversation_id, after, "after")).position
                some = some.where(position < last if newest_first else position > last)
            some = some.order_by(position.desc() if newest_first else position).limit(limit + 1)
            rows = (await connection.execute(some)).all()
        return [self._document(tenant, row) for row in rows[:limit]], len(rows) > limit

    async def item(self, tenant: str, conversation_id: str, item_id: str) -> Document:
        """Returns an item. Raises NotFound if there is no such conversation or item."""
        async with self._database.begin() as connection:
            await self._row(connection, tenant, conversation_id)
            return self._document(tenant, await self._item(connection, conversation_id, item_id, "item_id"))

    async def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> Conversation:
        """Deletes an item, and returns the conversation. Raises NotFound if there is no such conversation or item."""
        async with self._database.begin() as connection:
            row = await self._row(connection, tenant, conversation_id, lock=True)
            item = await self._item(connection, conversation_id, item_id, "item_id")
            await connection.execute(
                delete(items_table).where(items_table.c.conversation == row.id, items_table.c.id == item.id)
            )
            left = {"length": conversations.c.length - 1, "size": conversations.c.size - item.size}
            await connection.execute(update(conversations).where(conversations.c.id == row.id).values(left))
        return self._read(row)

    async def history(self, tenant: str, conversation_id: str) -> list[Document]:
        """Returns all items, the oldest first, for a response that continues them.

        Raises:
            NotFound: the tenant has no such conversation, or it has expired.
            InvalidRequest: there are too many items, or they are too large.
        """
        all_items = select(items_table).where(items_table.c.conversation == conversation_id)
        try:
            async with self._database.begin() as connection:
                _check_room(await self._row(connection, tenant, conversation_id), IN_REQUEST)
                rows = (await connection.execute(all_items.order_by(items_table.c.position))).all()
            return [self._document(tenant, row) for row in rows]
        except NotFound as error:
            raise NotFound(error.message, param=IN_REQUEST) from None

    async def sweep(self) -> int:
        """Deletes conversations that have expired, and those that are longest unused of tenants that have too many.

        Returns:
            How many were deleted.
        """
        deleted = 0
        for _ in range(MAX_ROUNDS):
            some = await self._expired()
            deleted += await self._delete_unused(some)
            if len(some) < ROWS:
                break
        for tenant in await self._tenants_with_too_many():
            deleted += await self._delete_surplus(tenant)
        return deleted

    async def _add(
        self, connection: AsyncConnection, tenant: str, conversation_id: str, items: Sequence[Document]
    ) -> None:
        if row := await self.append(connection, tenant, conversation_id, items):
            _check_room(row, "items")

    async def _row(
        self, connection: AsyncConnection, tenant: str, conversation_id: str, *, lock: bool = False
    ) -> Row[Any]:
        """Returns the row of a conversation. lock: no other transaction changes it meanwhile. Raises NotFound."""
        if is_conversation_id(conversation_id):
            found = select(conversations).where(self._mine(tenant, conversation_id))
            if row := (await connection.execute(found.with_for_update() if lock else found)).one_or_none():
                self._read(row)
                return row
        raise _unknown(conversation_id)

    async def _item(self, connection: AsyncConnection, conversation_id: str, item_id: str, param: str) -> Row[Any]:
        if is_item_id(item_id):
            found = select(items_table).where(
                items_table.c.conversation == conversation_id, items_table.c.id == item_id
            )
            if row := (await connection.execute(found)).one_or_none():
                return row
        raise NotFound(f"The conversation has no item with the id '{item_id[:64]}'.", param=param)

    def _mine(self, tenant: str, conversation_id: str) -> ColumnElement[bool]:
        mine = (conversations.c.tenant == tenant) & (conversations.c.id == conversation_id)
        return mine & (conversations.c.expires > self._clock.wall())

    def _sealed_metadata(self, conversation: Conversation) -> bytes:
        return self._cipher.write(conversation.metadata, _place(conversation.tenant, conversation.id, "metadata"))

    def _read(self, row: Row[Any]) -> Conversation:
        metadata = self._opened(row.metadata, row.tenant, row.id, "metadata")
        return Conversation(row.id, row.tenant, row.created, metadata)

    def _document(self, tenant: str, row: Row[Any]) -> Document:
        document: Document = self._opened(row.document, tenant, row.conversation, row.id)
        return document

    def _opened(self, stored: bytes, tenant: str, conversation_id: str, what: str) -> Any:
        """Reads what the operator's key opens. A conversation of which something cannot be read counts as deleted."""
        try:
            return self._cipher.read(stored, _place(tenant, conversation_id, what))
        except Unreadable as error:
            log.warning("the conversation %s cannot be read: %s", conversation_id, error)
            raise _unknown(conversation_id) from None

    async def _make_room(self, tenant: str) -> None:
        """Deletes what a tenant has too much of. What was added stays, even if the database is away now."""
        try:
            await self._delete_surplus(tenant)
        except DatabaseAway as away:
            log.warning("conversations that are too many cannot be deleted: %s", away)

    async def _expired(self) -> Sequence[Any]:
        oldest = select(conversations.c.id, conversations.c.used).where(conversations.c.expires <= self._clock.wall())
        async with self._database.begin() as connection:
            return (await connection.execute(oldest.order_by(conversations.c.expires).limit(ROWS))).all()

    async def _tenants_with_too_many(self) -> Sequence[str]:
        too_many = or_(func.count() > self._bounds.count, func.sum(conversations.c.size) > self._bounds.size)
        found = select(conversations.c.tenant).group_by(conversations.c.tenant).having(too_many).limit(ROWS)
        async with self._database.begin() as connection:
            return (await connection.scalars(found)).all()

    async def _delete_surplus(self, tenant: str) -> int:
        """Deletes the conversations of a tenant that are longest unused, up to ROWS, if it has too many."""
        mine = conversations.c.tenant == tenant
        all_of_it = select(func.count(), func.coalesce(func.sum(conversations.c.size), 0)).where(mine)
        oldest = select(conversations.c.id, conversations.c.used, conversations.c.size).where(mine)
        async with self._database.begin() as connection:
            count, size = (await connection.execute(all_of_it)).one()
            if count <= self._bounds.count and size <= self._bounds.size:
                return 0
            rows = (await connection.execute(oldest.order_by(conversations.c.used).limit(ROWS))).all()
        return await self._delete_unused(self._bounds.surplus(rows, count, int(size)))

    async def _delete_unused(self, rows: Sequence[Any]) -> int:
        """Deletes conversations, except those to which something was added since.

        Each has a transaction of its own, which is short even if it has many items.
        """
        deleted = 0
        for row in rows:
            unused = (conversations.c.id == row.id) & (conversations.c.used == row.used)
            async with self._database.begin() as connection:
                deleted += (await connection.execute(delete(conversations).where(unused))).rowcount
        return deleted


def _check_room(row: Row[Any], param: str) -> None:
    """Raises InvalidRequest if a conversation has more than it may."""
    if row.length > MAX_ITEMS or row.size > MAX_BYTES:
        raise InvalidRequest(
            f"The conversation is too long: it may have {MAX_ITEMS} items and {MAX_BYTES >> 20} MiB. Delete some of "
            "its items, or go on in a new one.",
            param=param,
            code="conversation_too_long",
        )


def _place(tenant: str, conversation_id: str, what: str) -> str:
    return f"{tenant}/{conversation_id}/{what}"


def _unknown(conversation_id: str) -> NotFound:
    return NotFound(f"Conversation with id '{conversation_id[:64]}' not found.", param="conversation_id")
