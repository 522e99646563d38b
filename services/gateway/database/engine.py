"""The gateway's database: SQLite in a file, or PostgreSQL. It may be away at any time, at the start too."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.gateway.database.migrate import migrate
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.settings import WrongSettings

log = logging.getLogger(__name__)

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
CONNECTIONS = 8
CONNECT_LIMIT_S = 3
TRANSACTION_LIMIT_S = 10.0
MIGRATION_LIMIT_S = 120.0


class DatabaseAway(Exception):
    """The database cannot be asked now. The message names the kind of failure, never the URL."""


class Database:
    def __init__(self, url: str, *, clock: Clock, random: Random) -> None:
        """Raises WrongSettings for what is no URL of a database that we know; its value may hold a password."""
        self._engine = _engine(_parse(url))
        self._clock, self._random = clock, random
        self._migrated = False

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    async def run(self) -> None:
        """Migrates as soon as the database answers."""
        for delay in backoff(self._random, cap_s=5.0):
            try:
                await self.migrate()
                return
            except DatabaseAway as away:
                log.warning("the database is away: %s", away)
            await self._clock.sleep(delay)

    async def migrate(self) -> None:
        """Raises DatabaseAway."""
        async with self._transaction(MIGRATION_LIMIT_S) as connection:
            await connection.run_sync(migrate)
        self._migrated = True

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction. Raises DatabaseAway, and IntegrityError for what contradicts the tables."""
        if not self._migrated:
            raise DatabaseAway("not reached since the start")
        async with self._transaction(TRANSACTION_LIMIT_S) as connection:
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, limit_s: float) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(limit_s), self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise DatabaseAway(_name(error)) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        return parsed.set(drivername=DRIVERS[parsed.get_backend_name()])
    except (ArgumentError, KeyError) as error:
        wanted = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:5432/NAME"
        raise WrongSettings(f"TIDEGATE_DATABASE_URL = (hidden): {type(error).__name__}: wanted is {wanted}") from None


def _engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        # One connection: a file has one writer at a time in any case, and none of ours then waits for another's lock.
        engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=TRANSACTION_LIMIT_S)
        # Its own way to give a connection up closes it twice when it is cancelled, and waits for the second for ever.
        engine.dialect.do_terminate = engine.dialect.do_close  # type: ignore[method-assign]
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=TRANSACTION_LIMIT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_LIMIT_S},
    )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """The driver would begin transactions by rules of its own, and leave changes of the schema outside of them."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _name(error: BaseException) -> str:
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__
