"""Stored responses in the database, by tenant. No tenant sees or changes those of another."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, Update, delete, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.database.engine import Database
from services.gateway.database.tables import responses
from services.gateway.stored_responses.bounds import Bounds, portions
from services.gateway.stored_responses.cipher import Cipher, Unreadable
from services.gateway.stored_responses.conversations import Conversations
from services.gateway.stored_responses.stored_response import ANSWERED, OPEN, StoredResponse, is_id
from services.shared.clock import Clock
from services.shared.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)

MAX_RESPONSE_BYTES = 8 << 20
"""A response is not stored if it is larger, its input included."""
MAX_CHAIN = 1024
"""Most responses of one conversation."""
MAX_CHAIN_BYTES = 16 << 20
LAPSE_S = 120.0
"""A response that is made, and of which no gateway has given a sign for so long, has failed."""
ROWS = 500
"""Most rows that are found at once, to be deleted."""
SWEPT_BYTES = 32 << 20
"""Most bytes of the rows that one transaction of a sweep changes: databases read and write every page of them."""
MAX_ROUNDS = 20
PREVIOUS = "previous_response_id"


class TooLargeToStore(Exception):
    """The response is larger than one may be."""


class StoredResponses:
    """Keeps responses. Every method is one transaction, or a few, and may raise DatabaseAway.

    Attributes:
        conversations: that responses continue and add to.
    """

    def __init__(self, database: Database, cipher: Cipher, bounds: Bounds, clock: Clock) -> None:
        self.conversations = Conversations(database, cipher, bounds, clock)
        self._database, self._cipher, self._bounds, self._clock = database, cipher, bounds, clock

    async def add(self, response: StoredResponse) -> None:
        """Stores a new response. What it says is added to its conversation.

        Raises:
            TooLargeToStore: it is too large.
        """
        row = {
            **self._content(response),
            "id": response.id,
            "tenant": response.tenant,
            "created": response.created,
            "expires": response.created + self._bounds.lifetime_s,
            "previous": response.previous,
            "background": response.background,
        }
        async with self._database.begin() as connection:
            await connection.execute(insert(responses).values(row))
            await self._add_turn(connection, response)

    async def end(self, response: StoredResponse) -> bool:
        """Stores how a response ended that was open. Returns False if it is not open any more, and changes nothing.

        Raises:
            TooLargeToStore: it is too large.
        """
        changes = _open([response.id]).values(self._content(response))
        async with self._database.begin() as connection:
            if not (await connection.execute(changes)).rowcount:
                return False
            await self._add_turn(connection, response)
        return True

    async def begin(self, response_id: str) -> None:
        """Notes that an open response is in progress."""
        await self._change_open(response_id, {"status": "in_progress", "beat": self._clock.wall()})

    async def beat(self, response_ids: Sequence[str]) -> set[str]:
        """Notes that responses are made still. Returns those of them that are open: the others are not wanted."""
        still = _open(response_ids)
        async with self._database.begin() as connection:
            beaten = await connection.scalars(still.values(beat=self._clock.wall()).returning(responses.c.id))
            return set(beaten)

    async def cancel(self, tenant: str, response_id: str) -> StoredResponse:
        """Cancels a response that is made in the background, and returns it. One that has ended stays as it is.

        Raises:
            NotFound: the tenant has no such response, or it has expired.
            InvalidRequest: it is not made in the background.
        """
        found = await self.get(tenant, response_id)
        if not found.background:
            raise InvalidRequest(
                "Only responses that are made in the background can be cancelled.", param="response_id"
            )
        if not found.ended:
            await self._change_open(response_id, {"status": "cancelled"})
            found = await self.get(tenant, response_id)
        return found

    async def get(self, tenant: str, response_id: str) -> StoredResponse:
        """Returns a response.

        Raises:
            NotFound: the tenant has no such response, or it has expired.
        """
        if is_id(response_id):
            async with self._database.begin() as connection:
                row = (await connection.execute(self._visible(tenant, [response_id]))).one_or_none()
            if row is not None and (found := self._read(row)):
                return found
        raise _unknown(response_id)

    async def find(self, tenant: str, response_ids: Sequence[str]) -> list[StoredResponse]:
        """Returns those of some responses that the tenant has."""
        async with self._database.begin() as connection:
            rows = (await connection.execute(self._visible(tenant, response_ids))).all()
        return [found for row in rows if (found := self._read(row))]

    async def chain(self, tenant: str, response_id: str) -> list[StoredResponse]:
        """Returns a response and those that it continues, the oldest first.

        Raises:
            InvalidRequest: the tenant does not have all of them, one is still made, or they are too many or too large.
        """
        if not is_id(response_id):
            raise _no_previous(response_id)
        chain = self._chain(tenant, response_id)
        async with self._database.begin() as connection:
            sizes = select(func.count(), func.sum(responses.c.size)).join_from(
                responses, chain, responses.c.id == chain.c.id
            )
            count, size = (await connection.execute(sizes)).one()
            if count > MAX_CHAIN or (size or 0) > MAX_CHAIN_BYTES:
                raise _too_long(count)
            rows = await connection.execute(
                select(responses)
                .join_from(responses, chain, responses.c.id == chain.c.id)
                .order_by(chain.c.depth.desc())
            )
            found = [self._read(row) for row in rows]
        return _whole(response_id, found)

    async def delete(self, tenant: str, response_id: str) -> None:
        """Deletes a response; one that is still made ends unseen.

        Raises:
            NotFound: the tenant has no such response, or it has expired.
        """
        await self.get(tenant, response_id)
        async with self._database.begin() as connection:
            await connection.execute(
                delete(responses).where(responses.c.tenant == tenant, responses.c.id == response_id)
            )

    async def sweep(self) -> int:
        """Deletes what has expired and what tenants have too much of, and fails what nobody makes any more.

        Returns:
            How many responses and conversations were deleted.
        """
        await self._fail_lapsed()
        deleted = await self._delete_expired()
        for tenant, count, size in await self._tenants_with_too_much():
            deleted += await self._delete_surplus(tenant, count, size)
        return deleted + await self.conversations.sweep()

    def _content(self, response: StoredResponse) -> dict[str, Any]:
        document = self._cipher.write(response.document, _place(response.tenant, response.id, "document"))
        items = self._cipher.write(response.input, _place(response.tenant, response.id, "input"))
        if (size := len(document) + len(items)) > MAX_RESPONSE_BYTES:
            raise TooLargeToStore(f"{size} bytes")
        status, now = response.status, self._clock.wall()
        return {"status": status, "beat": now, "size": size, "document": document, "input": items}

    def _read(self, row: Any) -> StoredResponse | None:
        """Returns a row's response; None if it cannot be read with the operator's key, as if it were not there."""
        try:
            document = self._cipher.read(row.document, _place(row.tenant, row.id, "document"))
            items = self._cipher.read(row.input, _place(row.tenant, row.id, "input"))
        except Unreadable as error:
            log.warning("the stored response %s cannot be read: %s", row.id, error)
            return None
        lapsed = row.status in OPEN and row.beat <= self._clock.wall() - LAPSE_S
        return StoredResponse(
            id=row.id,
            tenant=row.tenant,
            created=row.created,
            status="failed" if lapsed else row.status,
            document=document,
            input=items,
            previous=row.previous,
            background=row.background,
        )

    def _visible(self, tenant: str, response_ids: Iterable[str]) -> Select[Any]:
        return select(responses).where(
            responses.c.tenant == tenant,
            responses.c.id.in_(list(response_ids)),
            responses.c.expires > self._clock.wall(),
        )

    def _chain(self, tenant: str, response_id: str) -> Any:
        now, mine = self._clock.wall(), responses.c.tenant == tenant
        columns = (responses.c.id, responses.c.previous)
        first = (
            select(*columns, literal(1).label("depth"))
            .where(mine, responses.c.id == response_id, responses.c.expires > now)
            .cte("chain", recursive=True)
        )
        # One more than allowed, to see that there are too many. The bound ends a chain that leads into itself, too.
        return first.union_all(
            select(*columns, first.c.depth + 1).where(
                mine,
                responses.c.id == first.c.previous,
                responses.c.expires > now,
                first.c.depth <= MAX_CHAIN,
            )
        )

    async def _add_turn(self, connection: AsyncConnection, response: StoredResponse) -> None:
        """Adds a response that has an answer to its conversation, in the transaction that stores the response."""
        if response.conversation and response.status in ANSWERED:
            turn = list(response.told())
            await self.conversations.append(connection, response.tenant, response.conversation, turn)

    async def _change_open(self, response_id: str, values: dict[str, Any]) -> None:
        async with self._database.begin() as connection:
            await connection.execute(_open([response_id]).values(values))

    async def _fail_lapsed(self) -> None:
        lapsed = responses.c.status.in_(OPEN) & (responses.c.beat <= self._clock.wall() - LAPSE_S)
        async with self._database.begin() as connection:
            rows = (await connection.execute(select(responses.c.id, responses.c.size).where(lapsed).limit(ROWS))).all()
        for ids in portions(rows, SWEPT_BYTES):
            async with self._database.begin() as connection:
                failed = update(responses).where(responses.c.id.in_(ids), lapsed).values(status="failed")
                await connection.execute(failed)

    async def _delete_expired(self) -> int:
        deleted = 0
        expired = select(responses.c.id, responses.c.size).where(responses.c.expires <= self._clock.wall())
        for _ in range(MAX_ROUNDS):
            async with self._database.begin() as connection:
                rows = (await connection.execute(expired.order_by(responses.c.expires).limit(ROWS))).all()
            deleted += await self._delete(rows)
            if len(rows) < ROWS:
                break
        return deleted

    async def _tenants_with_too_much(self) -> Sequence[Any]:
        """Returns tenants that have more than they may, each with number and bytes of its responses."""
        count, size = func.count().label("count"), func.sum(responses.c.size).label("size")
        found = (
            select(responses.c.tenant, count, size)
            .group_by(responses.c.tenant)
            .having(or_(count > self._bounds.count, size > self._bounds.size))
            .limit(ROWS)
        )
        async with self._database.begin() as connection:
            return (await connection.execute(found)).all()

    async def _delete_surplus(self, tenant: str, count: int, size: int) -> int:
        """Deletes the oldest responses of a tenant that has more than it may, up to ROWS."""
        oldest = select(responses.c.id, responses.c.size).where(
            responses.c.tenant == tenant, responses.c.status.not_in(OPEN)
        )
        async with self._database.begin() as connection:
            rows = (await connection.execute(oldest.order_by(responses.c.created).limit(ROWS))).all()
        return await self._delete(self._bounds.surplus(rows, count, int(size)))

    async def _delete(self, rows: Sequence[Any]) -> int:
        """Deletes responses, a few in each transaction, so that what is done stays done."""
        deleted = 0
        for ids in portions(rows, SWEPT_BYTES):
            async with self._database.begin() as connection:
                deleted += (await connection.execute(delete(responses).where(responses.c.id.in_(ids)))).rowcount
        return deleted


def _open(response_ids: Sequence[str]) -> Update:
    return update(responses).where(responses.c.id.in_(response_ids), responses.c.status.in_(OPEN))


def _whole(response_id: str, found: Sequence[StoredResponse | None]) -> list[StoredResponse]:
    """Returns a chain if nothing of it is missing."""
    chain = [response for response in found if response]
    if not chain or len(chain) < len(found):
        raise _no_previous(response_id)
    if chain[0].previous is not None:
        raise InvalidRequest(
            f"The response '{chain[0].previous}', which '{response_id}' continues, was deleted or has expired.",
            param=PREVIOUS,
            code="previous_response_not_found",
        )
    for response in chain:
        if not response.ended:
            raise InvalidRequest(
                f"The response '{response.id}' has not ended yet.", param=PREVIOUS, code="response_not_ended"
            )
    return chain


def _place(tenant: str, response_id: str, column: str) -> str:
    return f"{tenant}/{response_id}/{column}"


def _too_long(count: int) -> InvalidRequest:
    return InvalidRequest(
        f"The conversation is too long: {count} responses. Send what matters of it as 'input' instead.",
        param=PREVIOUS,
        code="conversation_too_long",
    )


def _no_previous(response_id: str) -> InvalidRequest:
    text = f"Previous response with id '{response_id[:64]}' not found."
    return InvalidRequest(text, param=PREVIOUS, code="previous_response_not_found")


def _unknown(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id[:64]}' not found.", param="response_id")
