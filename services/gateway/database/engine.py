"""The gateway's database: SQLite in a file, or PostgreSQL. It may be out of reach at any time, even at the start."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.gateway.database.sqlite import SqliteThreads, sqlite_engine
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.migrations import Migrations, upgrade
from services.shared.settings import WrongSettings

log = logging.getLogger(__name__)

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
CONNECTIONS = 8
CONNECT_LIMIT_S = 3
TRANSACTION_LIMIT_S = 10.0
MIGRATION_LIMIT_S = 120.0
FIRST_MIGRATION_WAIT_S = 5.0
"""So long the first transactions of a process wait for its first migration."""
MIGRATIONS = Migrations(Path(__file__).parent / "migrations", version_table="gateway_schema", lock=0x7469_6465)


class DatabaseAway(Exception):
    """The database cannot be reached now. The message names the kind of failure, never the URL."""


class Database:
    """Transactions on the gateway's database.

    Args:
        url: sqlite:///PATH or postgresql://USER:PASSWORD@HOST:5432/NAME.

    Raises:
        WrongSettings: the URL names no such database. The message hides it, since it may hold a password.
    """

    def __init__(self, url: str, *, clock: Clock, random: Random) -> None:
        self._threads = SqliteThreads()
        self._engine = _engine(_parse(url), self._threads)
        self._clock, self._random = clock, random
        self._migrated, self._tried_to_migrate = False, asyncio.Event()

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    async def run(self) -> None:
        """Brings the schema up to date as soon as the database can be reached."""
        for delay in backoff(self._random, cap_s=5.0):
            try:
                await self.migrate()
                return
            except DatabaseAway as away:
                log.warning("the database is away: %s", away)
            await self._clock.sleep(delay)

    async def migrate(self) -> None:
        """Brings the schema up to date; safe while other gateways do the same. Raises DatabaseAway."""
        try:
            async with self._transaction(MIGRATION_LIMIT_S) as connection:
                await connection.run_sync(upgrade, MIGRATIONS)
            self._migrated = True
        finally:
            self._tried_to_migrate.set()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction; leaving the block commits it. The first ones wait until the tables are there.

        Raises:
            DatabaseAway: the database cannot be reached, or takes too long.
            IntegrityError: a statement violates a constraint of the tables.
        """
        if not self._migrated:
            await self._first_migration()
        async with self._transaction(TRANSACTION_LIMIT_S) as connection:
            yield connection

    async def _first_migration(self) -> None:
        """Waits until the first migration has ended, well or not. Raises DatabaseAway if none has ended well."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_MIGRATION_WAIT_S):
                await self._tried_to_migrate.wait()
        if not self._migrated:
            raise DatabaseAway("not ready since the start")

    async def close(self) -> None:
        """Closes all connections. The event loop may end after it."""
        await self._engine.dispose()
        if not await self._threads.ended(TRANSACTION_LIMIT_S):
            log.warning("a connection to the database did not end within %g s", TRANSACTION_LIMIT_S)

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
        forms = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:5432/NAME"
        raise WrongSettings(f"TIDEGATE_DATABASE_URL = (hidden): {type(error).__name__}: expected {forms}") from None


def _engine(url: URL, threads: SqliteThreads) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, threads, pool_timeout_s=TRANSACTION_LIMIT_S)
    return create_async_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=TRANSACTION_LIMIT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_LIMIT_S},
    )


def _name(error: BaseException) -> str:
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__
