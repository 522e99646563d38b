"""Finds batches that nobody works on and works on them, a few at a time.

Gateways share no clock: a batch is free when its document has not changed for LEASE_S of this gateway's own time.
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
    etag: str
    since: float


class BatchRunner:
    def __init__(
        self,
        owner: str,
        batches: BatchStore,
        hold: Callable[[Stored], BatchRun],
        *,
        clock: Clock,
        lease_s: float = LEASE_S,
    ) -> None:
        """owner: unique to this process. hold: a run of a batch that was taken."""
        self._owner, self._batches, self._hold = owner, batches, hold
        self._clock, self._lease_s = clock, lease_s
        self._running: set[str] = set()
        self._seen: dict[str, Seen] = {}
        self._tasks = Tasks()

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except StoreError as error:
                log.warning("batches cannot be looked at: %s", error)
            await self._clock.sleep(POLL_S)

    async def stop(self) -> None:
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
        """A run that breaks off is taken up again, by this gateway or another, once its lease has run out."""
        run = self._hold(held)
        try:
            await run.run()
        except asyncio.CancelledError:
            await self._release(run, held.batch.id)
            raise
        except ExceptionGroup as broken:
            if unexpected := broken.split((Lost, StoreError))[1]:
                raise unexpected from None
            log.warning("batch %s broke off: %s", held.batch.id, broken.exceptions[0])
        finally:
            self._running.discard(held.batch.id)

    async def _release(self, run: BatchRun, batch_id: str) -> None:
        try:
            async with asyncio.timeout(RELEASE_S):
                await run.release()
        except (Lost, StoreError, TimeoutError) as error:
            log.warning("batch %s was left as it is: %s", batch_id, error)
