"""The ledger: one row for every accepted request, written to disk as it ends and to the database soon after."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Protocol

from services.gateway.database.engine import DatabaseAway
from services.gateway.ledger.metrics import LedgerMetrics
from services.gateway.ledger.orphaned_logs import OrphanedLog, take_over
from services.gateway.ledger.row import Row
from services.gateway.ledger.store import ROWS_A_STATEMENT, LedgerStore
from services.gateway.ledger.write_ahead_log import WriteAheadLog, sync
from services.shared.backoff import backoff
from services.shared.clock import Clock
from services.shared.errors import Overloaded

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.25
AWAY_CAP_S = 5.0
LAST_WRITE_S = 5.0


class LedgerWriter(Protocol):
    """What requests need of the ledger."""

    def check(self) -> None:
        """Raises Overloaded when no further request could be written down."""
        ...

    def accepted(self, row: Row) -> None:
        """The request will be served; the row says what is known if this process dies before its end."""
        ...

    def ended(self, row: Row) -> None: ...


class Ledger:
    def __init__(
        self, root: Path, store: LedgerStore, metrics: LedgerMetrics, *, max_bytes: int, clock: Clock, random: Random
    ) -> None:
        """root: folder of the journals. Raises OSError when none can be made there."""
        self._journal = WriteAheadLog(root, max_bytes, random)
        self._root, self._store, self._metrics = root, store, metrics
        self._clock, self._random = clock, random
        self._disk_is_well = True
        # Rows that the disk did not take: no more than there are requests, since no further ones are let in.
        self._held: list[Row] = []

    # ---- for requests

    def check(self) -> None:
        if not self._disk_is_well or not self._journal.has_room:
            raise Overloaded(
                "The gateway cannot account for further requests now. Please try again.",
                code="ledger_full",
                retry_after_s=5.0,
            )

    def accepted(self, row: Row) -> None:
        """A line that the disk does not take stops further requests, not this one."""
        try:
            self._journal.accepted(row)
        except OSError as error:
            self._disk_fails(error)

    def ended(self, row: Row) -> None:
        try:
            self._journal.ended(row)
            self._disk_is_well = True
        except OSError as error:
            self._held.append(row)
            self._disk_fails(error)

    # ---- for the database

    async def run(self) -> None:
        """Writes what has come, for ever; slower while the database is away."""
        away: Iterator[float] | None = None
        while True:
            await self._clock.sleep(next(away) if away else WRITE_EVERY_S)
            self._write_down_held()
            try:
                await self.write()
                await self._write_leftovers()
                away = None
            except DatabaseAway as error:
                away = away or self._goes_away(error)
                await asyncio.to_thread(sync, self._journal.unsynced())
            self._metrics.spooled.set(self._journal.unwritten_rows + len(self._held))

    async def write(self) -> None:
        """Until the database has all rows that were there. Raises DatabaseAway."""
        while batch := self._journal.unwritten():
            if batch.rows:
                self._metrics.written.inc(await self._store.add(batch.rows))
            self._journal.wrote(batch)
        if self._held:
            self._metrics.written.inc(await self._store.add(held := list(self._held)))
            self._held = self._held[len(held) :]

    async def stop(self) -> None:
        """Writes what it can; what the database does not take in time stays on disk for the next process."""
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self.write()
        except (DatabaseAway, TimeoutError) as error:
            log.warning("rows stay on disk: %s", type(error).__name__)
            await asyncio.to_thread(sync, self._journal.unsynced())
        self._metrics.dropped.inc(len(self._held))
        self._journal.close()

    async def _write_leftovers(self) -> None:
        """Journals of processes that died on this machine."""
        while leftover := await asyncio.to_thread(take_over, self._root):
            try:
                await self._write_leftover(leftover)
            finally:
                leftover.release()

    async def _write_leftover(self, leftover: OrphanedLog) -> None:
        rows = leftover.rows()
        while some := await asyncio.to_thread(lambda: list(islice(rows, ROWS_A_STATEMENT))):
            self._metrics.written.inc(await self._store.add(some))
        await asyncio.to_thread(leftover.remove)
        log.info("took over the journal of a process that is gone", extra={"journal": leftover.folder.name})

    def _write_down_held(self) -> None:
        """Rows that the disk did not take before."""
        held, self._held = self._held, []
        for row in held:
            self.ended(row)

    def _goes_away(self, error: DatabaseAway) -> Iterator[float]:
        log.warning("the ledger waits on disk: the database is away: %s", error)
        return backoff(self._random, first_s=WRITE_EVERY_S, cap_s=AWAY_CAP_S)

    def _disk_fails(self, error: OSError) -> None:
        if self._disk_is_well:
            log.error("the ledger cannot be written to disk: %s", error)
        self._disk_is_well = False
