"""Deletes stored responses and conversations that have expired.

Every gateway does it: to delete one twice does no harm.
"""

import logging

from services.gateway.database.engine import DatabaseAway
from services.gateway.stored_responses.store import StoredResponses
from services.shared.clock import Clock

log = logging.getLogger(__name__)

SWEEP_S = 60.0
"""Pause between sweeps. Clients do not see expired responses meanwhile; they only take space."""


class ResponseSweep:
    """Deletes expired responses again and again."""

    def __init__(self, responses: StoredResponses, clock: Clock) -> None:
        self._responses, self._clock = responses, clock

    async def run(self) -> None:
        """Sweeps for ever. The database may be away meanwhile."""
        while True:
            await self._clock.sleep(SWEEP_S)
            try:
                if deleted := await self._responses.sweep():
                    log.info("%s stored responses and conversations were deleted: expired, or too many", deleted)
            except DatabaseAway as away:
                log.warning("expired responses cannot be deleted: %s", away)
