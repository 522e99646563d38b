"""Frames of many requests to one gateway, sent together: what one engine step produced is one message."""

import asyncio
from collections.abc import AsyncIterator

from services.worker.engine.contract import Delta
from services.worker.wire import Name, write_delta
from tidegate.worker.v1 import worker_pb2 as pb

MAX_FRAMES = 1024


class Batch:
    """Bounded: when the gateway does not read, whoever has a frame to send waits, and the engine's output with it.

    Frames are written where they are sent from. Within a request the order of kinds is the order of frames.
    """

    def __init__(self, max_frames: int = MAX_FRAMES) -> None:
        self._message = pb.ServeResponse()
        self._frames, self._max_frames = 0, max_frames
        self._filled, self._taken = asyncio.Event(), asyncio.Event()
        self._closed = False

    async def start(self, started: pb.Started) -> None:
        await self._room()
        self._message.started.append(started)
        self._count()

    async def add(self, name: Name, delta: Delta) -> None:
        await self._room()
        self.put(name, delta)

    @property
    def full(self) -> bool:
        return self._frames >= self._max_frames

    def put(self, name: Name, delta: Delta) -> None:
        """Only while it is not full."""
        write_delta(self._message.deltas.add(), name, delta)
        self._count()

    async def end(self, ended: pb.Ended) -> None:
        await self._room()
        self._message.ended.append(ended)
        self._count()

    def close(self) -> None:
        """Nothing comes after what was put before."""
        self._closed = True
        self._filled.set()

    async def collected(self) -> AsyncIterator[pb.ServeResponse]:
        """Everything that is there, each time there is something; ends after `close`."""
        while self._frames or not self._closed:
            await self._filled.wait()
            # The step that woke this reader has woken the other requests too: let them add theirs.
            await asyncio.sleep(0)
            self._filled.clear()
            frames, message = self._frames, self._message
            self._frames, self._message = 0, pb.ServeResponse()
            self._taken.set()
            if frames:
                yield message

    async def _room(self) -> None:
        """For one frame, which the caller writes at once."""
        while self.full:
            self._taken.clear()
            await self._taken.wait()

    def _count(self) -> None:
        self._frames += 1
        self._filled.set()
