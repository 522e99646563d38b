"""Collects the frames of many requests for one gateway: one engine step becomes one message."""

import asyncio
from collections.abc import AsyncIterator

from services.worker.engine.contract import Delta
from services.worker.wire import Name, write_delta
from tidegate.worker.v1 import worker_pb2 as pb

MAX_FRAMES = 1024


class Batch:
    """The frames that the gateway has not taken yet; their number is bounded.

    When the gateway does not read, the requests wait here and their output stays in the engine's outbox. Frames are
    written into the message itself, so nothing is copied. A message lists Started, then deltas, then Ended frames;
    that is also their order within each request.
    """

    def __init__(self, max_frames: int = MAX_FRAMES) -> None:
        self._message = pb.ServeResponse()
        self._frames, self._max_frames = 0, max_frames
        self._filled, self._taken = asyncio.Event(), asyncio.Event()
        self._closed = False

    async def start(self, started: pb.Started) -> None:
        """Adds a Started frame; waits while the batch is full."""
        await self._room()
        self._message.started.append(started)
        self._count()

    async def add(self, name: Name, delta: Delta) -> None:
        """Adds a Delta frame; waits while the batch is full."""
        await self._room()
        self.put(name, delta)

    @property
    def full(self) -> bool:
        """Whether the next frame has to wait until the gateway reads."""
        return self._frames >= self._max_frames

    def put(self, name: Name, delta: Delta) -> None:
        """Adds a Delta frame at once; call it only while the batch is not full."""
        write_delta(self._message.deltas.add(), name, delta)
        self._count()

    async def end(self, ended: pb.Ended) -> None:
        """Adds an Ended frame; waits while the batch is full."""
        await self._room()
        self._message.ended.append(ended)
        self._count()

    def close(self) -> None:
        """Says that no more frames come; `collected` ends after the last one."""
        self._closed = True
        self._filled.set()

    async def collected(self) -> AsyncIterator[pb.ServeResponse]:
        """Yields all frames that are there, each time there are some; ends after `close`."""
        while self._frames or not self._closed:
            await self._filled.wait()
            # The engine step that woke this reader has woken other requests too: let them add their frames first.
            await asyncio.sleep(0)
            self._filled.clear()
            frames, message = self._frames, self._message
            self._frames, self._message = 0, pb.ServeResponse()
            self._taken.set()
            if frames:
                yield message

    async def _room(self) -> None:
        """Waits until there is room for one frame; the caller writes it at once."""
        while self.full:
            self._taken.clear()
            await self._taken.wait()

    def _count(self) -> None:
        self._frames += 1
        self._filled.set()
