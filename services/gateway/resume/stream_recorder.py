"""What a stream leaves behind as it goes: its log, and an id for each place that it comes to."""

from services.gateway.resume.event_ids import EventIds
from services.gateway.resume.resume_log import ResumeLogs
from services.gateway.resume.stream_log import StreamLog
from tidegate.worker.v1 import worker_pb2


class StreamRecorder:
    def __init__(self, log: StreamLog, ids: EventIds, journal: ResumeLogs) -> None:
        self._log, self._ids, self._journal = log, ids, journal
        journal.keep(log)

    def take(self, delta: worker_pb2.Delta) -> None:
        self._log.take(delta)

    def id(self) -> bytes:
        """Of the place where it is now; empty where nobody could go on from."""
        point = self._log.point()
        return self._ids.of(point) if point else b""

    def end(self) -> None:
        self._journal.forget(self._log)
