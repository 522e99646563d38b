"""Everything that reaches one request, from the router and from its worker, in order and in one place to wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from services.shared.errors import EngineFailed
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The connection to the worker broke. reached: it existed before, so the worker may have had the request."""

    reached: bool = True


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
"""Takes deltas as soon as they arrive and returns True. False: it takes none now, and they wait for `drain`."""


MAX_DRAINED = 64
"""Most items that one `drain` returns: while a slow client reads them, the others stay in their compact form."""


class Mailbox:
    """Filled by the readers of shared streams, which never wait; emptied by the request's own task.

    A delta keeps the memory of the whole message that brought it, and that message carries deltas of many requests.
    So a delta that is not read at once is kept as its bytes.

    Args:
        limit: most items that may lie unread; only a worker that ignores its credit reaches it.
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[Item | bytes] = deque()
        self._limit = limit
        self._interruption: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._sink: DeltaSink | None = None

    def deliver_to(self, sink: DeltaSink | None) -> None:
        """Offers deltas to `sink` from now on, but only while `drain` waits: nothing overtakes an unread item."""
        self._sink = sink

    def put(self, item: Item | bytes) -> None:
        """Adds an item and wakes the reader. Never waits; a full mailbox interrupts its request instead."""
        if len(self._items) >= self._limit:
            self.interrupt(EngineFailed("The answer came faster than it could be taken."))
            return
        self._items.append(item)
        if self._waiting:
            self._wake()

    def put_deltas(self, deltas: list[worker_pb2.Delta]) -> None:
        """Hands deltas to the sink if it takes them, without waking a task; otherwise adds them as items."""
        read_at_once = self._waiting is not None
        if self._waiting and self._sink:
            try:
                if self._sink(deltas):
                    return
            except Exception as error:  # noqa: BLE001 -- it ends this request, not the stream that all requests share
                self.interrupt(error)
                return
            read_at_once = False
        for delta in deltas:
            self.put(delta if read_at_once else delta.SerializeToString())

    def interrupt(self, error: Exception) -> None:
        """Makes every `drain` raise `error` from now on. The first interruption counts."""
        self._interruption = self._interruption or error
        self._wake()

    def clear(self) -> None:
        """Forgets what an attempt that is over has left."""
        self._items.clear()

    async def drain(self) -> list[Item]:
        """Waits for items and returns them in order, at most MAX_DRAINED.

        Raises:
            Exception: what the mailbox was interrupted with.
        """
        while not (self._items or self._interruption):
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self._interruption:
            raise self._interruption
        return [self._next() for _ in range(min(len(self._items), MAX_DRAINED))]

    def _next(self) -> Item:
        item = self._items.popleft()
        return worker_pb2.Delta.FromString(item) if isinstance(item, bytes) else item

    def _wake(self) -> None:
        """There is one reader, so a future is enough; an Event would do more work for every token."""
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            waiting.set_result(None)
