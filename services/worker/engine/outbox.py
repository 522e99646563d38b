"""Events of one request that its reader has not taken yet. Nearly every delta bypasses it and wakes no task."""

import asyncio
from collections import deque

from services.worker.engine.contract import Delta, Event, Take
from services.worker.engine.joining import joined

MAX_JOINED = 16
"""Most tokens of one joined delta: half of the smallest credit window, so that it can always be sent whole."""


class Outbox:
    """Stores the events that `take` does not take, in order; the request's length bounds it.

    The engine goes on when a reader does not read, so unread deltas are joined. One object for each unread token would
    make every garbage collection slower, and all other requests would wait for it.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._events: deque[Event | Exception] = deque()
        # Set while the reader waits and has had every event: only then may a delta bypass the outbox.
        self._reader: asyncio.Future[None] | None = None

    def put(self, event: Event | Exception) -> None:
        """Passes an event on, or an error that the reader should raise. It never waits."""
        if self._reader is not None and isinstance(event, Delta) and self._take(event):
            return
        if self._events and (joined := _joined(self._events[-1], event)):
            self._events[-1] = joined
            return
        self._events.append(event)
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def next(self) -> Event:
        """Returns the next event; only one reader may call it. Raises an error that was put."""
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


def _joined(last: Event | Exception, event: Event | Exception) -> Delta | None:
    """Joins two events, or returns None when they must stay apart."""
    if not (isinstance(last, Delta) and isinstance(event, Delta)) or last.choice != event.choice:
        return None
    return joined(last, event) if len(last.token_ids) + len(event.token_ids) <= MAX_JOINED else None
