"""Bytes that a thread writes and the event loop reads, a few chunks apart."""

import asyncio
from collections.abc import AsyncGenerator, Callable

_DEPTH = 2
_POLL_S = 1.0


class Closed(Exception):
    """Nobody reads any more."""


class Pipe:
    """The file that a library writes to. It can only be appended to."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_DEPTH)
        self._written, self._is_closed = 0, False

    def write(self, chunk: bytes) -> int:
        """For the thread: waits while the reader is behind. Raises Closed."""
        self._put(bytes(chunk))
        self._written += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        """For the thread: bytes written."""
        return self._written

    def seek(self, place: int) -> int:
        """For the thread: only the present place can be taken. Raises OSError."""
        if place != self._written:
            raise OSError("the server cannot continue a broken transfer in the middle")
        return place

    def truncate(self) -> int:
        """For the thread: nothing lies behind the present place."""
        return self._written

    async def read(self, write: Callable[["Pipe"], None]) -> AsyncGenerator[bytes, None]:
        """Runs `write` in a thread, and yields what it writes. Raises what `write` raises."""
        writing = asyncio.create_task(asyncio.to_thread(self._run, write))
        try:
            while (chunk := await self._chunks.get()) is not None:
                yield chunk
            await writing
        finally:
            self._is_closed = True
            while not self._chunks.empty():
                self._chunks.get_nowait()
            await asyncio.gather(writing, return_exceptions=True)

    def _run(self, write: Callable[["Pipe"], None]) -> None:
        try:
            write(self)
        finally:
            if not self._is_closed:
                self._put(None)

    def _put(self, chunk: bytes | None) -> None:
        if self._is_closed:
            raise Closed
        waiting = asyncio.run_coroutine_threadsafe(self._chunks.put(chunk), self._loop)
        while True:
            try:
                return waiting.result(_POLL_S)
            except TimeoutError:
                if self._is_closed:
                    waiting.cancel()
                    raise Closed from None
