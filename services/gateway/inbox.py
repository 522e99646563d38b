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
        self._filled = asyncio.Event()
        self._interruption: Exception | None = None

    def put(self, item: Item) -> None:
        if len(self._items) >= self._limit:
            self.interrupt(EngineFailed("The answer came faster than it could be taken."))
            return
        self._items.append(item)
        self._filled.set()

    def interrupt(self, error: Exception) -> None:
        """From now on every drain raises `error`; the first interruption counts."""
        self._interruption = self._interruption or error
        self._filled.set()

    def clear(self) -> None:
        """Forgets what an attempt that is over has left."""
        self._items.clear()
        if not self._interruption:
            self._filled.clear()

    async def drain(self) -> list[Item]:
        """Everything that came since the last drain; waits until there is something."""
        await self._filled.wait()
        if self._interruption:
            raise self._interruption
        items = list(self._items)
        self._items.clear()
        self._filled.clear()
        return items
