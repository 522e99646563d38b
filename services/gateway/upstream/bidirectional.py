"""A bidirectional gRPC stream: frames are read and written at the same time until one side ends the stream."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

log = logging.getLogger(__name__)

Frame = TypeVar("Frame", bound=Message)

MAX_TOGETHER = 64
# Far below what a peer accepts as one message. A larger frame has a message of its own.
MAX_TOGETHER_BYTES = 1024 * 1024


class StreamEnded(Exception):
    """The peer closed the stream, or it broke. The message says how."""


class OutboxFull(Exception):
    """The peer has stopped reading, so its stream has to end."""


class Outbox(Generic[Frame]):
    """Frames that wait to be written to a shared stream: put without waiting, written by one task, many to a message.

    Args:
        limit: most frames that may wait.

    Attributes:
        reaches: frames were written, so there was a connection.
    """

    def __init__(self, limit: int) -> None:
        self.reaches = False
        self._frames: deque[Frame] = deque()
        self._limit = limit
        self._filled = asyncio.Event()
        self._full = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Adds a frame. Never waits and never fails: if the outbox is full, `overflow` ends its stream."""
        if len(self._frames) >= self._limit:
            self._full.set()
            return
        self._frames.append(frame)
        self._filled.set()

    @property
    def empty(self) -> bool:
        """All frames are written."""
        return not self._frames

    async def pump(self, write: Callable[[Sequence[Frame]], Awaitable[None]]) -> None:
        """Writes frames, as many together as there are, until it is cancelled or `write` raises."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._frames:
                together = self._next()
                await write(together)
                self.reaches = True
                for _ in together:
                    self._frames.popleft()

    def _next(self) -> list[Frame]:
        """At least one frame. Frames stay in the outbox until they are written."""
        frames = list(islice(self._frames, MAX_TOGETHER))
        if len(frames) > 1:
            bytes_left = MAX_TOGETHER_BYTES
            for fitting, frame in enumerate(frames):
                bytes_left -= frame.ByteSize()
                if bytes_left < 0:
                    return frames[: max(1, fitting)]
        return frames

    async def overflow(self) -> None:
        """Waits until a frame does not fit.

        Raises:
            OutboxFull: always, in the end.
        """
        await self._full.wait()
        raise OutboxFull(f"{self._limit} frames wait unsent")


async def converse(
    call: Any, outbox: Outbox[Any], pack: Callable[[Sequence[Any]], Any], take: Callable[[Any], None]
) -> None:
    """Carries frames in both directions until the stream ends.

    Args:
        call: the gRPC call.
        outbox: the frames to write.
        pack: makes one message of several frames.
        take: handles a message that was read; it must not wait.

    Raises:
        StreamEnded: always, in the end.
    """
    work: list[asyncio.Task[None]] = [
        asyncio.create_task(_read(call, take), name="read frames"),
        asyncio.create_task(outbox.pump(lambda frames: call.write(pack(frames))), name="write frames"),
        asyncio.create_task(outbox.overflow(), name="watch for overflow"),
    ]
    try:
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    finally:
        call.cancel()
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    raise StreamEnded(_reason(done))


async def read_one(call: Any, timeout_s: float) -> Any:
    """Reads the next message.

    Raises:
        StreamEnded: none came within `timeout_s` seconds, or the stream ended.
    """
    try:
        message = await asyncio.wait_for(call.read(), timeout_s)
    except grpc.aio.AioRpcError as error:
        raise StreamEnded(_status(error)) from None
    except TimeoutError:
        raise StreamEnded(f"no answer within {timeout_s} s") from None
    if message is grpc.aio.EOF:
        raise StreamEnded("closed by the peer")
    return message


async def _read(call: Any, take: Callable[[Any], None]) -> None:
    while (message := await call.read()) is not grpc.aio.EOF:
        take(message)
    raise StreamEnded("closed by the peer")


def _reason(done: set[asyncio.Task[None]]) -> str:
    errors = [error for task in done if not task.cancelled() and (error := task.exception())]
    for error in errors:
        if isinstance(error, grpc.aio.AioRpcError):
            return _status(error)
        if not isinstance(error, StreamEnded | OutboxFull | asyncio.InvalidStateError):
            log.error("a frame could not be handled", exc_info=error)
    return str(errors[0]) if errors else "closed by the peer"


def _status(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
