"""Frames of many requests to one gateway, sent together: what one engine step produced is one message."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tidegate.worker.v1 import worker_pb2 as pb

Frame = pb.Started | pb.Delta | pb.Ended

MAX_FRAMES = 1024


class Batch:
    """Bounded: when the gateway does not read, whoever has a frame to send waits, and the engine's output with it."""

    def __init__(self, max_frames: int = MAX_FRAMES) -> None:
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue(max_frames)
        self._closed = False

    async def put(self, frame: Frame) -> None:
        await self._frames.put(frame)

    def close(self) -> None:
        """Nothing comes after what was put before."""
        self._closed = True
        with contextlib.suppress(asyncio.QueueFull):
            self._frames.put_nowait(None)  # wakes a reader; a full queue needs no waking

    async def collected(self) -> AsyncIterator[list[Frame]]:
        """Everything that is there, each time there is something; ends after `close`."""
        while not (self._closed and self._frames.empty()):
            frames = [await self._frames.get()]
            # The step that woke this reader has woken the other requests too: let them add theirs.
            await asyncio.sleep(0)
            while not self._frames.empty():
                frames.append(self._frames.get_nowait())
            if present := [frame for frame in frames if frame is not None]:
                yield present


def response(frames: list[Frame], epoch: int, step: int, state: int) -> pb.ServeResponse:
    """One message; within a request the order of kinds is the order of frames."""
    return pb.ServeResponse(
        worker_epoch=epoch,
        step=step,
        started=[frame for frame in frames if isinstance(frame, pb.Started)],
        deltas=[frame for frame in frames if isinstance(frame, pb.Delta)],
        ended=[frame for frame in frames if isinstance(frame, pb.Ended)],
        state=pb.WorkerState.ValueType(state),
    )
