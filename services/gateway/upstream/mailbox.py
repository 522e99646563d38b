"""All that reaches one request, from router and worker alike, in order and in one place to wait."""

import asyncio
from collections import deque
from collections.abc import Callable

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
DeltaSink = Callable[[list[worker_pb2.Delta]], bool]
"""Takes deltas in the pass that brought them; False: not now, and they wait for the request's task."""


MAX_DRAINED = 64
"""Items that are taken at once: what a slow reader has not got yet stays small while it waits."""


class Mailbox:
    """Filled by the readers of shared streams, which never wait; emptied by the request's own task.

    A delta holds the memory of the whole message that it came in, which carries those of many requests. So one that
    nobody takes in that very pass is kept as its bytes.
    """

    def __init__(self, limit: int) -> None:
        """`limit`: items that may lie unread; only a worker that ignores its credit gets there."""
        self._items: deque[Item | bytes] = deque()
        self._limit = limit
        self._interruption: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._at_once: DeltaSink | None = None

    def put(self, item: Item | bytes) -> None:
        if len(self._items) >= self._limit:
            self.interrupt(EngineFailed("The answer came faster than it could be taken."))
            return
        self._items.append(item)
        if self._waiting:
            self._wake()

    def put_deltas(self, deltas: list[worker_pb2.Delta]) -> None:
        """To whoever takes them at once, while it waits for nothing else; no task is woken for them."""
        if self._at_once and self._taken(self._at_once, deltas):
            return
        behind = self._at_once is not None or self._waiting is None
        for delta in deltas:
            self.put(delta.SerializeToString() if behind else delta)

    def interrupt(self, error: Exception) -> None:
        """From now on every drain raises `error`; the first interruption counts."""
        self._interruption = self._interruption or error
        self._wake()

    def clear(self) -> None:
        """Forgets what an attempt that is over has left."""
        self._items.clear()

    async def drain(self, at_once: DeltaSink | None = None) -> list[Item]:
        """What came, in order, at most MAX_DRAINED; waits until there is something that `at_once` did not take."""
        while not (self._items or self._interruption):
            self._waiting, self._at_once = asyncio.get_running_loop().create_future(), at_once
            try:
                await self._waiting
            finally:
                self._at_once = None
        if self._interruption:
            raise self._interruption
        return [self._next() for _ in range(min(len(self._items), MAX_DRAINED))]

    def _next(self) -> Item:
        item = self._items.popleft()
        return worker_pb2.Delta.FromString(item) if isinstance(item, bytes) else item

    def _taken(self, at_once: DeltaSink, deltas: list[worker_pb2.Delta]) -> bool:
        try:
            return at_once(deltas)
        except Exception as error:  # noqa: BLE001 -- it ends this request, not the stream that all of them share
            self.interrupt(error)
            return True

    def _wake(self) -> None:
        """There is one reader, so a future does; an Event would do more for every token."""
        waiting, self._waiting = self._waiting, None
        self._at_once = None
        if waiting and not waiting.done():
            waiting.set_result(None)
