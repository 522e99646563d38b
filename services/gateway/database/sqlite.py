"""SQLite as the gateway uses it: one connection, its own transactions, and no thread that outlives the event loop."""

import asyncio
import time
from threading import Thread
from typing import Any

import aiosqlite
from sqlalchemy import URL, Dialect, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


class SqliteThreads:
    """The driver's threads, one for each connection.

    A connection whose opening is cancelled leaves its thread behind. If the event loop is closed before the thread has
    ended, the thread fails with an error of its own. So whoever closes the database waits for them.
    """

    def __init__(self) -> None:
        self._threads: list[Thread] = []

    def connect(self, *args: Any, **options: Any) -> aiosqlite.Connection:
        """`aiosqlite.connect`; the result is to be awaited."""
        connection = aiosqlite.connect(*args, **options)
        thread = connection._thread  # SQLAlchemy's dialect reads it too: the driver has no other way.
        thread.daemon = True
        self._threads = [*(known for known in self._threads if known.is_alive()), thread]
        return connection

    async def ended(self, limit_s: float) -> bool:
        """Waits until all have ended; says whether they have."""
        return await asyncio.to_thread(self._join, time.monotonic() + limit_s)

    def _join(self, deadline: float) -> bool:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def sqlite_engine(url: URL, threads: SqliteThreads, *, pool_timeout_s: float) -> AsyncEngine:
    """An engine on one file. `threads` gets the thread of each connection."""

    async def connect() -> aiosqlite.Connection:
        arguments, options = engine.dialect.create_connect_args(url)
        return await threads.connect(*arguments, **options)

    # One connection: a file has one writer at a time anyway, and so no connection of ours waits for another's lock.
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=pool_timeout_s, async_creator=connect)
    _close_instead_of_terminate(engine.dialect)
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _close_instead_of_terminate(dialect: Dialect) -> None:
    """The aiosqlite dialect, when it is cancelled, terminates a connection twice and waits for the second for ever."""
    dialect.do_terminate = dialect.do_close  # type: ignore[method-assign]


def _prepare(connection: Any, _: Any) -> None:
    """Makes transactions ours: the driver would begin them by its own rules, and leave schema changes outside."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
