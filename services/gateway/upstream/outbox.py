"""Frames waiting for their turn on a shared stream: put without waiting, written by one task, many to a message."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from google.protobuf.message import Message

Frame = TypeVar("Frame", bound=Message)

MAX_TOGETHER = 64
# Far below what a peer accepts as one message. A frame that is larger has a message of its own.
MAX_TOGETHER_BYTES = 1024 * 1024


class OutboxFull(Exception):
    """The peer has stopped reading: its stream is to be given up."""


class Outbox(Generic[Frame]):
    def __init__(self, limit: int) -> None:
        self._frames: deque[Frame] = deque()
        self._limit = limit
        self._filled = asyncio.Event()
        self._full = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Never waits and never fails; once the outbox has been full, `overflow` ends the stream it belongs to."""
        if len(self._frames) >= self._limit:
            self._full.set()
            return
        self._frames.append(frame)
        self._filled.set()

    @property
    def empty(self) -> bool:
        return not self._frames

    async def pump(self, write: Callable[[Sequence[Frame]], Awaitable[None]]) -> None:
        """Writes what has come, all of it together, until cancelled or until `write` raises."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._frames:
                together = self._next()
                await write(together)
                for _ in together:
                    self._frames.popleft()

    def _next(self) -> list[Frame]:
        """At least one; they stay in the outbox until they are written."""
        frames = list(islice(self._frames, MAX_TOGETHER))
        if len(frames) > 1:
            room = MAX_TOGETHER_BYTES
            for fitting, frame in enumerate(frames):
                room -= frame.ByteSize()
                if room < 0:
                    return frames[: max(1, fitting)]
        return frames

    async def overflow(self) -> None:
        """Waits until a frame did not fit; then raises OutboxFull."""
        await self._full.wait()
        raise OutboxFull(f"{self._limit} frames wait unsent")
