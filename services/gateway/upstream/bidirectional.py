"""One bidirectional gRPC stream, read and written at once until either side leaves it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from services.gateway.upstream.outbox import Outbox, OutboxFull

log = logging.getLogger(__name__)


class StreamEnded(Exception):
    """The peer closed the stream, or it broke; the message says how."""


async def converse(
    call: Any, outbox: Outbox[Any], pack: Callable[[Sequence[Any]], Any], take: Callable[[Any], None]
) -> None:
    """Writes what comes into the outbox, as `pack` makes messages of it, and hands each message read to `take`.

    Always ends by raising StreamEnded.
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
    """The next message. Raises StreamEnded when there is none within `timeout_s` seconds."""
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
