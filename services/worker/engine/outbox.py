"""What one request has produced, on its way to its reader: nearly every delta goes past it, without waking anybody."""

import asyncio
from collections import deque

from services.worker.engine.contract import Delta, Event, Take

MAX_JOINED = 16
"""Tokens of one delta. Half of the smallest window of credit, so that it can always go out whole."""


class Outbox:
    """Holds what `take` does not take, in order. Bounded by its request.

    An engine goes on for readers who do not read, so what lies unread is joined: an object for every token of every one
    of them would be looked at by each garbage collection, and the others would wait for that.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._events: deque[Event | Exception] = deque()
        # Set while the reader waits and has had everything: only then may a delta go past it.
        self._reader: asyncio.Future[None] | None = None

    def put(self, event: Event | Exception) -> None:
        """Never waits."""
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


def _joined(last: Event | Exception, event: Event | Exception) -> Delta | None:
    """None when they must stay apart. The reasoning of a delta comes before its text."""
    if not (isinstance(last, Delta) and isinstance(event, Delta)) or last.choice != event.choice:
        return None
    if len(last.token_ids) + len(event.token_ids) > MAX_JOINED or last.tool_calls or event.tool_calls:
        return None
    if last.finish_reason or (last.text and event.reasoning):
        return None
    return Delta(
        last.choice,
        text=last.text + event.text,
        token_ids=last.token_ids + event.token_ids,
        reasoning=last.reasoning + event.reasoning,
        logprobs=last.logprobs + event.logprobs,
        finish_reason=event.finish_reason,
        stop_reason=event.stop_reason,
        text_from=last.text_from,
        text_end=event.text_end,
    )
