"""The ledger in the database: each request once, however often it is written."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.gateway.database.engine import Database
from services.gateway.database.tables import ledger, usage
from services.gateway.ledger.entry import Row

# Nothing else runs in the process while a statement is built.
ROWS_A_STATEMENT = 100
_COLUMNS = tuple(field.name for field in fields(Row))
_values = attrgetter(*_COLUMNS)
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_NAMES = ("key_id", "day", "tenant", "model", "version", "tier")
_SUMS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class Usage:
    """What requests of one kind used together. A name that was not asked for is empty."""

    key_id: str
    day: str
    tenant: str
    model: str
    version: str
    tier: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a report.

    Args:
        first: the first day, as YYYY-MM-DD.
        last: the last day, included.
        tenant: None for all tenants.
    """

    first: str
    last: str
    tenant: str | None = None


class LedgerStore:
    """Rows and their sums in the database. Every method may raise DatabaseAway."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = _INSERTS[database.dialect]

    async def add(self, rows: Iterable[Row]) -> int:
        """Adds rows. Rows that are there already stay as they are, and only new rows are added to the sums.

        Every gateway writes in the same order, rows before sums, so two gateways never wait for each other in a circle.

        Returns:
            How many rows were new.
        """
        given = {row.request_id: row for row in rows}
        if not given:
            return 0
        ordered = [given[request_id] for request_id in sorted(given)]
        async with self._database.begin() as connection:
            added = [given[request_id] for request_id in await self._insert_rows(connection, ordered)]
            if added:
                await self._sum_up(connection, added)
        return len(added)

    async def usage(self, span: Span, columns: Sequence[str], limit: int) -> list[Usage]:
        """Returns sums by `columns`, at most `limit`."""
        by = [usage.c[name] for name in columns]
        sums = [func.sum(usage.c[name]).label(name) for name in _SUMS]
        query = select(*by, *sums).where(usage.c.day.between(span.first, span.last)).group_by(*by).order_by(*by)
        if span.tenant is not None:
            query = query.where(usage.c.tenant == span.tenant)
        async with self._database.begin() as connection:
            rows = (await connection.execute(query.limit(limit))).mappings().all()
        return [_usage(row) for row in rows]

    async def _insert_rows(self, connection: AsyncConnection, rows: Sequence[Row]) -> list[str]:
        """Request ids of those that were not there."""
        insert = self._insert(ledger).on_conflict_do_nothing().returning(ledger.c.request_id)
        new: list[str] = []
        for first in range(0, len(rows), ROWS_A_STATEMENT):
            some = [dict(zip(_COLUMNS, _values(row), strict=True)) for row in rows[first : first + ROWS_A_STATEMENT]]
            new += await connection.scalars(insert, some)
        return new

    async def _sum_up(self, connection: AsyncConnection, rows: Iterable[Row]) -> None:
        insert = self._insert(usage)
        more = {name: usage.c[name] + insert.excluded[name] for name in _SUMS}
        sums = sorted(_sums(rows), key=lambda sums: [sums[name] for name in _NAMES])
        await connection.execute(insert.on_conflict_do_update(index_elements=list(_NAMES), set_=more), sums)


def _sums(rows: Iterable[Row]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in rows:
        name = (row.key_id, row.day, row.tenant, row.model, row.version, row.tier)
        more = (1, row.prompt_tokens, row.cached_tokens, row.completion_tokens)
        sums[name] = [a + b for a, b in zip(sums[name], more, strict=True)]
    return [dict(zip((*_NAMES, *_SUMS), (*name, *figures), strict=True)) for name, figures in sums.items()]


def _usage(row: Any) -> Usage:
    """PostgreSQL sums in numeric."""
    names: dict[str, Any] = {name: row.get(name, "") for name in _NAMES}
    sums: dict[str, Any] = {name: int(row[name]) for name in _SUMS}
    return Usage(**names, **sums)
