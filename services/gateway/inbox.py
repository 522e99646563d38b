"""All that reaches one request, from router and worker alike, in order and in one place to wait."""

import asyncio
from collections import deque

from services.shared.errors import EngineFailed
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class WorkerLost:
    """The connection to the worker broke."""


Item = (
    router_pb2.Grant
    | router_pb2.Queued
    | router_pb2.Reject
    | router_pb2.Revoke
    | router_pb2.Yield
    | worker_pb2.Started
    | worker_pb2.Delta
    | worker_pb2.Ended
    | WorkerLost
)


class Inbox:
    """Filled by the readers of shared streams, which never wait; emptied in one go by the request's own task."""

    def __init__(self, limit: int) -> None:
        """`limit`: items that may lie unread; only a worker that ignores its credit gets there."""
        self._items: deque[Item] = deque()
        self._limit = limit
        self._interruption: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: Item) -> None:
        if len(self._items) >= self._limit:
            self.interrupt(EngineFailed("The answer came faster than it could be taken."))
            return
        self._items.append(item)
        if self._waiting:
            self._wake()

    def interrupt(self, error: Exception) -> None:
        """From now on every drain raises `error`; the first interruption counts."""
        self._interruption = self._interruption or error
        self._wake()

    def clear(self) -> None:
        """Forgets what an attempt that is over has left."""
        self._items.clear()

    async def drain(self) -> list[Item]:
        """Everything that came since the last drain; waits until there is something."""
        while not (self._items or self._interruption):
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._interruption:
            raise self._interruption
        items = list(self._items)
        self._items.clear()
        return items

    def _wake(self) -> None:
        """There is one reader, so a future does; an Event would do more for every token."""
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            waiting.set_result(None)
