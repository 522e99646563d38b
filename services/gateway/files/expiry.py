"""Deletes files that have expired. Every gateway does it: to delete a file twice does no harm."""

import logging

from services.gateway.files.store import FileStore
from services.shared.clock import Clock
from services.shared.objectstore import StoreError

log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""Pause between sweeps. Clients do not see expired files meanwhile; they only take space."""


class ExpirySweep:
    """Deletes expired files again and again."""

    def __init__(self, files: FileStore, clock: Clock) -> None:
        self._files, self._clock = files, clock

    async def run(self) -> None:
        """Sweeps for ever. The object store may be away meanwhile."""
        while True:
            try:
                if deleted := await self._files.delete_expired():
                    log.info("%s files had expired and were deleted", deleted)
            except StoreError as error:
                log.warning("expired files cannot be deleted: %s", error)
            await self._clock.sleep(SWEEP_S)
