"""The journal as a gateway sees it: the logs of its streams on their way to a router, and those of others back."""

import asyncio

from services.gateway.resume.event_ids import HEADER
from services.gateway.resume.stream_log import Point, StreamLog
from services.gateway.upstream.log_reader import LogReader
from services.gateway.upstream.router_client import RouterClient
from services.shared.clock import Clock
from services.shared.errors import NotFound
from services.shared.lifecycle import Tasks
from tidegate.router.v1 import router_pb2

WRITE_INTERVAL_S = 0.1
# Of one stream, and of all that go in one frame: what a router writes in one step holds up nobody's grant.
MAX_PART_BYTES = 64 * 1024
MAX_FRAME_BYTES = 256 * 1024


class ResumeLogs:
    def __init__(self, router: RouterClient, reader: LogReader, clock: Clock) -> None:
        self._router, self._reader, self._clock = router, reader, clock
        self._logs: dict[str, StreamLog] = {}
        self._writing = asyncio.Lock()
        self._tasks = Tasks()

    async def start(self) -> None:
        self._tasks.start(self._keep_writing(), "journal")

    async def stop(self) -> None:
        await self._tasks.stop()

    def keep(self, log: StreamLog) -> None:
        """Writes it until it is forgotten; at once if it begins with much, its client having come from elsewhere."""
        self._logs[log.request_id] = log
        if log.point() is None:
            self._tasks.start(self._write([log]), "journal, at once")

    def forget(self, log: StreamLog) -> None:
        """It has ended. What the journal lacks of it is in its last id."""
        self._logs.pop(log.request_id, None)

    async def read(self, pool: str, point: Point) -> bytes:
        """The log up to the point. Raises NotFound, StoreUnavailable."""
        log = await self._reader.read(pool, point.request_id) if point.offset else b""
        if log is None or len(log) < point.offset:
            raise NotFound(
                "This stream is not kept any more. Send the request without Last-Event-ID to begin again.",
                param=HEADER,
                code="event_id_expired",
            )
        return log[: point.offset] + point.tail

    async def _keep_writing(self) -> None:
        while True:
            await self._clock.sleep(WRITE_INTERVAL_S)
            await self._write(list(self._logs.values()))

    async def _write(self, logs: list[StreamLog]) -> None:
        """What is new of them, one frame after the other: what has not been answered is not sent again."""
        async with self._writing:
            frame: list[router_pb2.LogPart] = []
            size = 0
            for part in (part for log in logs if (part := log.part(MAX_PART_BYTES))):
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
                log.note(written.length, full=written.full)
