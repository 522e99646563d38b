"""The ledger's background task, with a database and a disk that fail on demand."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.database.engine import DatabaseAway
from services.gateway.ledger.entry import Row
from services.gateway.ledger.ledger import AWAY_CAP_S, WRITE_EVERY_S, Ledger, LedgerMetrics
from services.shared.errors import Overloaded
from tests.support.clock import ManualClock
from tests.support.wait import wait_until
from tests.unit.gateway.ledger.rows import begun, ended


class Database:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.away = False

    async def add(self, rows: Iterable[Row]) -> int:
        if self.away:
            raise DatabaseAway("test")
        new = {row.request_id: row for row in rows if row.request_id not in self.rows}
        self.rows |= new
        return len(new)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ledger(
    tmp_path: Path, database: Database, registry: CollectorRegistry, clock: ManualClock
) -> AsyncIterator[Ledger]:
    made = Ledger(
        tmp_path,
        database,  # type: ignore[arg-type]
        LedgerMetrics(registry),
        max_bytes=1024 * 1024,
        clock=clock,
        random=Random(1),
    )
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def tick(clock: ManualClock, seconds: float = WRITE_EVERY_S) -> None:
    """Lets the task run once; another thread does its work on the disk."""
    await asyncio.sleep(0)
    await clock.advance(seconds)


def spooled(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("tidegate_gateway_ledger_rows_spooled") or 0.0


def serve(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.check()
        ledger.accepted(begun(number))
        ledger.ended(ended(number))


async def test_rows_wait_on_disk_for_a_database_that_is_away(
    ledger: Ledger, database: Database, clock: ManualClock, registry: CollectorRegistry
) -> None:
    database.away = True
    serve(ledger, *range(10))
    await tick(clock)
    await wait_until(lambda: spooled(registry) == 10, description="rows are seen to wait")
    database.away = False

    async def written() -> bool:
        await tick(clock, AWAY_CAP_S)
        return len(database.rows) == 10 and spooled(registry) == 0

    await wait_until(written, description="the database has them")
    assert registry.get_sample_value("tidegate_gateway_ledger_rows_written_total") == 10


async def test_a_full_disk_refuses_requests_and_loses_none(
    ledger: Ledger, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(row: Row) -> None:
        raise OSError("no space left")

    ledger.accepted(begun(1))
    with monkeypatch.context() as disk:
        disk.setattr(ledger._log, "_append", full)
        ledger.ended(ended(1))
        with pytest.raises(Overloaded):
            ledger.check()
        await tick(clock)
        await wait_until(lambda: len(database.rows) == 1, description="the row went to the database without the disk")
    ledger.ended(ended(2))
    ledger.check()


async def test_requests_that_cannot_be_written_down_are_refused(ledger: Ledger, database: Database) -> None:
    database.away = True
    with pytest.raises(Overloaded) as refused:
        serve(ledger, *range(100_000))
    assert refused.value.retry_after_s
    assert ledger._log.size <= 1024 * 1024


async def test_the_rows_of_a_dead_process_are_written_too(
    ledger: Ledger, tmp_path: Path, database: Database, clock: ManualClock
) -> None:
    dead = Ledger(
        tmp_path,
        database,  # type: ignore[arg-type]
        LedgerMetrics(CollectorRegistry()),
        max_bytes=1024 * 1024,
        clock=clock,
        random=Random(2),
    )
    dead.accepted(begun(1))
    dead.accepted(begun(2))
    dead.ended(ended(2))
    dead._log._lock.release()

    async def written() -> bool:
        await tick(clock)
        return len(database.rows) == 2

    await wait_until(written, description="the other's rows are written")
    assert sorted(row.outcome for row in database.rows.values()) == ["completed", "lost"]


async def test_stop_writes_what_is_left(tmp_path: Path, database: Database, clock: ManualClock) -> None:
    last = Ledger(
        tmp_path,
        database,  # type: ignore[arg-type]
        LedgerMetrics(CollectorRegistry()),
        max_bytes=1024 * 1024,
        clock=clock,
        random=Random(3),
    )
    serve(last, 1, 2)
    await last.stop()
    assert len(database.rows) == 2
    assert os.listdir(tmp_path) == []  # noqa: PTH208
