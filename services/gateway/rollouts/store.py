"""The history of rollouts in the database: each event once, whichever gateway copied it, and only the last ones."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from services.gateway.database.engine import Database
from services.gateway.database.tables import rollout_events
from services.gateway.rollouts.event import RolloutEvent

_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_COLUMNS = [rollout_events.c[field.name] for field in fields(RolloutEvent)]
ROWS_A_STATEMENT = 100


class RolloutHistory:
    """Events of all pools. Every method may raise DatabaseAway."""

    def __init__(self, database: Database, kept: int) -> None:
        """`kept`: so many events of each pool stay."""
        self._database, self._kept = database, kept
        self._insert = _INSERTS[database.dialect]

    async def add(self, events: Iterable[RolloutEvent]) -> None:
        """Adds events. Those that are there already stay as they are."""
        rows = [asdict(event) for event in events]
        for first in range(0, len(rows), ROWS_A_STATEMENT):
            statement = self._insert(rollout_events).values(rows[first : first + ROWS_A_STATEMENT])
            async with self._database.begin() as connection:
                await connection.execute(statement.on_conflict_do_nothing())

    async def trim(self, pool: str) -> int:
        """Deletes the oldest events of a pool that has more than are kept. Returns how many went."""
        at, of_pool = rollout_events.c.at, rollout_events.c.pool == pool
        newest = select(at).where(of_pool).order_by(at.desc()).offset(self._kept - 1).limit(1)
        async with self._database.begin() as connection:
            if (oldest := await connection.scalar(newest)) is None:
                return 0
            # Events of the same moment as the oldest one stay: they belong together.
            return (await connection.execute(delete(rollout_events).where(of_pool, at < oldest))).rowcount

    async def read(self, pool: str | None, limit: int) -> list[RolloutEvent]:
        """Returns the last events, newest first.

        Args:
            pool: of this pool only; None: of all.
            limit: so many at most.
        """
        query = select(*_COLUMNS).order_by(rollout_events.c.at.desc(), rollout_events.c.revision.desc()).limit(limit)
        if pool is not None:
            query = query.where(rollout_events.c.pool == pool)
        async with self._database.begin() as connection:
            return [RolloutEvent(*row) for row in await connection.execute(query)]
