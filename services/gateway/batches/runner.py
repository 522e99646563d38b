"""Finds batches that no gateway works on, and works on a few of them at a time.

Gateways share no clock. A batch is free when its document has not changed for LEASE_S by this gateway's own clock.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.batches.run import BatchRun, Lost
from services.gateway.batches.store import BatchStore, Stored
from services.shared.clock import Clock
from services.shared.errors import NotFound
from services.shared.lifecycle import Tasks
from services.shared.objectstore import Conflict, StoreError

log = logging.getLogger(__name__)

POLL_S = 2.0
LEASE_S = 20.0
MAX_RUNNING = 4
RELEASE_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A form of a batch that this gateway has seen. since: when first, on the monotonic clock."""

    etag: str
    since: float


class BatchRunner:
    """Takes free batches, and runs them."""

    def __init__(
        self,
        owner: str,
        batches: BatchStore,
        make_run: Callable[[Stored], BatchRun],
        *,
        clock: Clock,
        lease_s: float = LEASE_S,
    ) -> None:
        """Makes a runner that does not run yet.

        Args:
            owner: name of this gateway process; no other has it.
            batches: stores batches.
            make_run: makes the run of a batch that was taken.
            clock: pauses between looks, and leases.
            lease_s: seconds without a change after which a batch is free.
        """
        self._owner, self._batches, self._make_run = owner, batches, make_run
        self._clock, self._lease_s = clock, lease_s
        self._running: set[str] = set()
        self._seen: dict[str, Seen] = {}
        self._tasks = Tasks()

    async def run(self) -> None:
        """Looks for free batches again and again."""
        while True:
            try:
                await self._look()
            except StoreError as error:
                log.warning("open batches cannot be listed: %s", error)
            await self._clock.sleep(POLL_S)

    async def stop(self) -> None:
        """Stops the runs, and releases their batches."""
        await self._tasks.stop()

    async def _look(self) -> None:
        listed = [found async for found in self._batches.open_batches()]
        self._seen = {
            batch_id: seen for batch_id, seen in self._seen.items() if any(batch_id == name for _, name in listed)
        }
        for tenant, batch_id in listed:
            if batch_id not in self._running and len(self._running) < MAX_RUNNING:
                await self._consider(tenant, batch_id)

    async def _consider(self, tenant: str, batch_id: str) -> None:
        try:
            stored = await self._batches.get(tenant, batch_id)
        except NotFound:
            return
        if stored.batch.ended:
            await self._batches.close(stored.batch)
        elif self._is_free(stored):
            await self._take(stored)

    def _is_free(self, stored: Stored) -> bool:
        if stored.batch.owner is None:
            return True
        now = self._clock.monotonic()
        seen = self._seen.get(stored.batch.id)
        if seen is None or seen.etag != stored.etag:
            self._seen[stored.batch.id] = Seen(stored.etag, now)
            return False
        return now - seen.since >= self._lease_s

    async def _take(self, stored: Stored) -> None:
        batch = stored.batch.model_copy(update={"owner": self._owner, "beat": stored.batch.beat + 1})
        try:
            held = await self._batches.put(stored, batch)
        except Conflict:
            return
        if held.batch.owner == self._owner:
            self._running.add(batch.id)
            self._tasks.start(self._carry_out(held), f"batch {batch.id}")

    async def _carry_out(self, held: Stored) -> None:
        """Runs a batch. If the run breaks off, a gateway takes the batch again when its lease has run out."""
        run = self._make_run(held)
        try:
            await run.run()
        except asyncio.CancelledError:
            await self._release(run, held.batch.id)
            raise
        except ExceptionGroup as broken:
            if unexpected := broken.split((Lost, StoreError))[1]:
                raise unexpected from None
            log.warning("batch %s was interrupted: %s", held.batch.id, broken.exceptions[0])
        finally:
            self._running.discard(held.batch.id)

    async def _release(self, run: BatchRun, batch_id: str) -> None:
        try:
            async with asyncio.timeout(RELEASE_S):
                await run.release()
        except (Lost, StoreError, TimeoutError) as error:
            log.warning("batch %s could not be released: %s", batch_id, error)
