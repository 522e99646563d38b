"""The ledger: one row for every accepted request, on disk when the request ends and in the database soon after."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.generation import Generation
from services.gateway.ledger.entry import RequestEntry, Row
from services.gateway.ledger.store import ROWS_A_STATEMENT, LedgerStore
from services.gateway.ledger.write_ahead_log import OrphanedLog, WriteAheadLog, sync, take_over
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.errors import Overloaded

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.25
AWAY_CAP_S = 5.0
LAST_WRITE_S = 5.0


class LedgerMetrics:
    """tidegate_gateway_ledger_*: rows that were written, and rows that wait on disk for the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = Counter(
            "tidegate_gateway_ledger_rows_written_total", "Rows that are in the database now", registry=registry
        )
        self.spooled = Gauge(
            "tidegate_gateway_ledger_rows_spooled",
            "Rows on disk that the database does not have yet",
            registry=registry,
        )
        self.spool_bytes = Gauge(
            "tidegate_gateway_ledger_spool_bytes", "Size of the ledger's files on disk", registry=registry
        )
        self.spool_limit = Gauge(
            "tidegate_gateway_ledger_spool_limit_bytes",
            "Size of the ledger's files at which the gateway refuses requests",
            registry=registry,
        )
        self.dropped = Counter(
            "tidegate_gateway_ledger_rows_dropped_total", "Rows that neither disk nor database took", registry=registry
        )


class Ledger:
    """Keeps rows on disk, and writes them to the database in the background.

    Args:
        root: folder of the write-ahead logs of all gateways on this machine.
        max_bytes: of this gateway's log.
    """

    def __init__(
        self, root: Path, store: LedgerStore, metrics: LedgerMetrics, *, max_bytes: int, clock: Clock, random: Random
    ) -> None:
        """Makes a log of its own. Raises OSError when that cannot be done."""
        self._log = WriteAheadLog(root, max_bytes, random)
        self._root, self._store, self._metrics = root, store, metrics
        self._clock, self._random = clock, random
        metrics.spool_limit.set(max_bytes)
        self._disk_works = True
        # Rows that the disk did not take. Never more than open requests, since no further requests are let in.
        self._held: list[Row] = []

    # ---- for requests

    def check(self) -> None:
        """Checks that one more request can be written down.

        Raises:
            Overloaded: the log is full, or the disk takes no rows.
        """
        if not self._disk_works or not self._log.has_room:
            raise Overloaded(
                "The gateway cannot account for further requests now. Please try again.",
                code="ledger_full",
                retry_after_s=5.0,
            )

    def open(self, generation: Generation) -> RequestEntry:
        """Begins the entry of one request; nothing is written before the request is accepted."""
        return RequestEntry(generation, self, self._clock)

    def accepted(self, row: Row) -> None:
        """Writes the row to disk. A row that the disk does not take stops further requests, not this one."""
        try:
            self._log.accepted(row)
        except OSError as error:
            self._disk_fails(error)

    def ended(self, row: Row) -> None:
        """Writes the row to disk, or holds it in memory while the disk fails."""
        try:
            self._log.ended(row)
            self._disk_works = True
        except OSError as error:
            self._held.append(row)
            self._disk_fails(error)

    # ---- for the database

    async def run(self) -> None:
        """Writes new rows until cancelled; less often while the database is away."""
        delays: Iterator[float] | None = None
        while True:
            await self._clock.sleep(next(delays) if delays else WRITE_EVERY_S)
            self._write_down_held()
            try:
                await self.write()
                await self._write_orphaned_logs()
                delays = None
            except DatabaseAway as error:
                delays = delays or self._database_went_away(error)
                await asyncio.to_thread(sync, self._log.unsynced())
            self._metrics.spooled.set(self._log.unwritten_rows + len(self._held))
            self._metrics.spool_bytes.set(self._log.size)

    async def write(self) -> None:
        """Writes until the database has all rows that were there.

        Raises:
            DatabaseAway: the rows that are left stay on disk.
        """
        while batch := self._log.unwritten():
            if batch.rows:
                self._metrics.written.inc(await self._store.add(batch.rows))
            self._log.wrote(batch)
        if self._held:
            self._metrics.written.inc(await self._store.add(held := list(self._held)))
            self._held = self._held[len(held) :]

    async def stop(self) -> None:
        """Writes for at most LAST_WRITE_S seconds; what is left stays on disk for the next process."""
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self.write()
        except (DatabaseAway, TimeoutError) as error:
            log.warning("rows stay on disk: %s", type(error).__name__)
            await asyncio.to_thread(sync, self._log.unsynced())
        self._metrics.dropped.inc(len(self._held))
        self._log.close()

    async def _write_orphaned_logs(self) -> None:
        """Writes the rows of processes that died on this machine."""
        while orphaned := await asyncio.to_thread(take_over, self._root):
            try:
                await self._write_orphaned_log(orphaned)
            finally:
                orphaned.release()

    async def _write_orphaned_log(self, orphaned: OrphanedLog) -> None:
        rows = orphaned.rows()
        while some := await asyncio.to_thread(lambda: list(islice(rows, ROWS_A_STATEMENT))):
            self._metrics.written.inc(await self._store.add(some))
        await asyncio.to_thread(orphaned.remove)
        log.info("took over the write-ahead log of a dead process", extra={"folder": orphaned.folder.name})

    def _write_down_held(self) -> None:
        """Tries the disk again with rows that it did not take before."""
        held, self._held = self._held, []
        for row in held:
            self.ended(row)

    def _database_went_away(self, error: DatabaseAway) -> Iterator[float]:
        log.warning("the database is away, rows wait on disk: %s", error)
        return backoff(self._random, first_s=WRITE_EVERY_S, cap_s=AWAY_CAP_S)

    def _disk_fails(self, error: OSError) -> None:
        if self._disk_works:
            log.error("the ledger cannot be written to disk: %s", error)
        self._disk_works = False
