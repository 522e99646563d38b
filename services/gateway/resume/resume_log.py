"""The resume log as a gateway sees it: routers store the logs of its streams, and return those of other gateways."""

import asyncio

from services.gateway.resume.event_ids import HEADER, StreamPosition
from services.gateway.resume.stream_log import StreamLog
from services.gateway.upstream.control_client import ControlClient
from services.gateway.upstream.router_client import RouterClient
from services.shared.clock import Clock
from services.shared.errors import NotFound
from services.shared.lifecycle import Tasks
from tidegate.router.v1 import router_pb2

WRITE_INTERVAL_S = 0.1
# Bounds for the part of one stream, and for a frame with parts of many streams. A router writes a frame in one step,
# and that step must not delay grants.
MAX_PART_BYTES = 64 * 1024
MAX_FRAME_BYTES = 256 * 1024


class ResumeLogClient:
    """Writes the logs of open streams every WRITE_INTERVAL_S, and reads the log of any stream."""

    def __init__(self, router: RouterClient, reader: ControlClient, clock: Clock) -> None:
        self._router, self._reader, self._clock = router, reader, clock
        self._logs: dict[str, StreamLog] = {}
        self._writing = asyncio.Lock()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Starts to write."""
        self._tasks.start(self._keep_writing(), "resume log")

    async def stop(self) -> None:
        """Stops to write. What is not written yet is in the clients' event ids."""
        await self._tasks.stop()

    def add(self, log: StreamLog) -> None:
        """Writes a log from now on until it is removed.

        A log that begins with much, because its client came from another gateway, is written at once.
        """
        self._logs[log.request_id] = log
        if log.position() is None:
            self._tasks.start(self._write([log]), "resume log, at once")

    def remove(self, log: StreamLog) -> None:
        """Writes a log no more: its stream has ended."""
        self._logs.pop(log.request_id, None)

    async def read(self, pool: str, position: StreamPosition) -> bytes:
        """Returns the log of a stream up to a position.

        Raises:
            NotFound: the resume log does not have the stream any more.
            StoreUnavailable: no router can read it now.
        """
        log = await self._reader.read_log(pool, position.request_id) if position.offset else b""
        if log is None or len(log) < position.offset:
            raise NotFound(
                "This stream is not kept any more. Send the request without Last-Event-ID to begin again.",
                param=HEADER,
                code="event_id_expired",
            )
        return log[: position.offset] + position.tail

    async def _keep_writing(self) -> None:
        while True:
            await self._clock.sleep(WRITE_INTERVAL_S)
            await self._write(list(self._logs.values()))

    async def _write(self, logs: list[StreamLog]) -> None:
        """Writes what is new, frame by frame. A part that was not acknowledged is not sent again in the same call."""
        async with self._writing:
            frame: list[router_pb2.LogPart] = []
            size = 0
            for part in (part for log in logs if (part := log.next_part(MAX_PART_BYTES))):
                frame.append(part)
                size += len(part.data)
                if size >= MAX_FRAME_BYTES:
                    await self._send(frame)
                    frame, size = [], 0
            if frame:
                await self._send(frame)

    async def _send(self, frame: list[router_pb2.LogPart]) -> None:
        for written in await self._router.write_logs(frame):
            if log := self._logs.get(written.request_id):
                log.note_stored(written.length, full=written.full)
