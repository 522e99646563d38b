"""What one request has produced, on its way to its reader: nearly every delta goes past it, without waking anybody."""

import asyncio
from collections import deque

from services.worker.engine.contract import Delta, Event, Take


class Outbox:
    """Holds what `take` does not take, in order. Bounded by its request: a delta for each token at most, and ends."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._events: deque[Event | Exception] = deque()
        # Set while the reader waits and has had everything: only then may a delta go past it.
        self._reader: asyncio.Future[None] | None = None

    def put(self, event: Event | Exception) -> None:
        """Never waits."""
        if self._reader is not None and isinstance(event, Delta) and self._take(event):
            return
        self._events.append(event)
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def next(self) -> Event:
        """For one reader. Raises what was put to be raised."""
        if not self._events:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event = self._events.popleft()
        if isinstance(event, Exception):
            raise event
        return event
