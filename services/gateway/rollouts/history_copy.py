"""Copies the history of rollouts from the routers, whose Redis keeps the last events only, to the database."""

import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

from services.gateway.database.engine import DatabaseAway
from services.gateway.rollouts.event import RolloutEvent
from services.gateway.rollouts.store import RolloutHistory
from services.shared.clock import Clock
from services.shared.errors import StoreUnavailable
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

COPY_S = 10.0


class Source(Protocol):
    """Where events come from."""

    def rollout_events(self, pool: str, after_revision: int) -> Awaitable[pb.ListRolloutEventsResponse]:
        """Returns the events of a pool after a revision. Raises StoreUnavailable."""
        ...


class HistoryCopy:
    """Copies again and again. Every gateway does it: to copy an event twice does no harm."""

    def __init__(self, pools: Sequence[str], source: Source, history: RolloutHistory, clock: Clock) -> None:
        self._source, self._history, self._clock = source, history, clock
        self._copied = dict.fromkeys(pools, 0)

    async def run(self) -> None:
        """Copies for ever.

        Routers and database may be away meanwhile, and events may be of a later release: Redis keeps the events.
        """
        while True:
            await self._clock.sleep(COPY_S)
            for pool in self._copied:
                try:
                    await self.copy(pool)
                except (StoreUnavailable, DatabaseAway, ValueError) as error:
                    log.warning("the history of rollouts is not copied: %s", error, extra={"pool": pool})

    async def copy(self, pool: str) -> None:
        """Copies what is new of one pool, and deletes what is more than is kept.

        Raises:
            StoreUnavailable: No router answers.
            DatabaseAway: The database does not answer.
            ValueError: This release does not know an event, which a router of a later release wrote.
        """
        after = self._copied[pool]
        kept = await self._source.rollout_events(pool, after)
        if kept.last_revision < after:
            # Redis lost its data, and revisions began anew.
            kept = await self._source.rollout_events(pool, 0)
        await self._history.add([RolloutEvent.of(pool, event) for event in kept.events])
        self._copied[pool] = kept.last_revision
        if kept.events and (went := await self._history.trim(pool)):
            log.info("old events of rollouts were deleted", extra={"pool": pool, "events": went})
