"""Both databases: migrations, transactions and failures."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from services.gateway.database import engine
from services.gateway.database.engine import Database, DatabaseAway
from services.gateway.database.tables import metadata, tenants
from services.shared.clock import SystemClock
from services.shared.settings import WrongSettings
from tests.support.wait import wait_until

UNREACHABLE = "postgresql://tidegate:geheim@127.0.0.1:9/tidegate"


def opened(url: str) -> Database:
    return Database(url, clock=SystemClock(), random=Random(1))


async def test_migrations_make_the_tables_of_the_code(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"version_table": "gateway_schema", "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with database.begin() as connection:
        assert await connection.run_sync(differences) == []


async def test_gateways_that_start_together_migrate_once(database_url: str) -> None:
    gateways = [opened(database_url) for _ in range(3)]
    # SQLite does not wait for a lock when it switches to its write-ahead log, so the second gateway may have to retry.
    await asyncio.gather(*(gateway.run() for gateway in gateways))
    async with gateways[0].begin() as connection:
        await connection.execute(insert(tenants).values(name="t", weight=1.0, tiers=[]))
    async with gateways[1].begin() as connection:
        assert (await connection.scalars(select(tenants.c.name))).all() == ["t"]
    for gateway in gateways:
        await gateway.close()


async def test_the_first_transactions_wait_for_the_first_migration(database_url: str) -> None:
    """Once, requests for stored responses right after the start of a gateway got a 503."""
    database = opened(database_url)
    transactions = [asyncio.create_task(_begin(database)) for _ in range(3)]
    done, _ = await asyncio.wait(transactions, timeout=0.01)
    assert not done
    await database.migrate()
    await asyncio.gather(*transactions)
    await database.close()


async def test_they_do_not_wait_for_a_second_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    away = opened(UNREACHABLE)
    first = asyncio.create_task(_begin(away))
    with pytest.raises(DatabaseAway):
        await away.migrate()
    with pytest.raises(DatabaseAway):
        await first
    monkeypatch.setattr(engine, "FIRST_MIGRATION_WAIT_S", 0.01)
    unbegun = opened(UNREACHABLE)
    with pytest.raises(DatabaseAway):
        await _begin(unbegun)
    for database in (away, unbegun):
        await database.close()


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    async def twice() -> None:
        async with database.begin() as connection:
            for _ in range(2):
                await connection.execute(insert(tenants).values(name="t", weight=1.0, tiers=[]))

    with pytest.raises(IntegrityError):
        await twice()
    async with database.begin() as connection:
        assert (await connection.scalars(select(tenants.c.name))).all() == []


def test_the_sqlite_dialect_has_the_two_methods_that_the_engine_swaps(tmp_path: Path) -> None:
    """SQLAlchemy calls them by these names; when it no longer does, engine.py needs another way."""
    dialect = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'gateway.sqlite3'}").dialect
    assert dialect.has_terminate
    assert type(dialect).do_terminate is not type(dialect).do_close


async def test_a_transaction_that_is_cancelled_again_and_again_ends(tmp_path: Path) -> None:
    """Once, a slow disk kept a process from ending, because it waited for ever for a connection to close."""
    file = tmp_path / "gateway.sqlite3"
    database = opened(f"sqlite:///{file}")
    await database.migrate()
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        transaction = asyncio.create_task(_begin(database))
        for _ in range(2):
            await asyncio.wait({transaction}, timeout=0.1)
            transaction.cancel()
        await asyncio.wait({transaction}, timeout=0.1)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
    _, waiting = await asyncio.wait(left, timeout=10)
    assert not waiting
    await database.close()
    await wait_until(lambda: not _threads(), description="its threads have ended")


async def test_after_its_end_no_thread_of_the_database_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, a thread found the event loop closed, because the opening of its connection had been cancelled."""
    opens, may_go_on = threading.Event(), threading.Event()
    connect = sqlite3.connect

    def slow(*args: Any, **options: Any) -> sqlite3.Connection:
        opens.set()
        may_go_on.wait(10)
        opened: sqlite3.Connection = connect(*args, **options)
        return opened

    monkeypatch.setattr(sqlite3, "connect", slow)
    database = opened(f"sqlite:///{tmp_path / 'gateway.sqlite3'}")
    migration = asyncio.create_task(database.migrate())
    await wait_until(opens.is_set, description="a thread opens the file")
    migration.cancel()
    await asyncio.wait({migration})
    asyncio.get_running_loop().call_later(0.1, may_go_on.set)
    await database.close()
    assert not _threads()


async def _begin(database: Database) -> None:
    async with database.begin():
        pass


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]


async def test_the_error_of_an_unreachable_database_hides_its_password() -> None:
    away = opened(UNREACHABLE)
    with pytest.raises(DatabaseAway) as failed:
        await away.migrate()
    assert "geheim" not in str(failed.value)
    with pytest.raises(DatabaseAway):
        async with away.begin():
            pass
    await away.close()


@pytest.mark.parametrize("url", ["", "geheim", "mysql://root:geheim@host/db"])
def test_a_wrong_database_url_stops_the_start(url: str, tmp_path: Path) -> None:
    with pytest.raises(WrongSettings, match="TIDEGATE_DATABASE_URL") as wrong:
        opened(url)
    assert "geheim" not in str(wrong.value)
