"""Frames waiting for their turn on a shared stream: put without waiting, written by one task."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Frame = TypeVar("Frame")


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

    async def pump(self, write: Callable[[Frame], Awaitable[None]]) -> None:
        """Writes frames as they come, until cancelled or until `write` raises."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._frames:
                await write(self._frames[0])
                self._frames.popleft()

    async def overflow(self) -> None:
        """Waits until a frame did not fit; then raises OutboxFull."""
        await self._full.wait()
        raise OutboxFull(f"{self._limit} frames wait unsent")
