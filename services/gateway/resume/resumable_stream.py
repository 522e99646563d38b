"""A stream of events with an id each, from which its client can go on."""

from collections.abc import Iterable

from services.gateway.openai.sse import EventStream
from services.gateway.resume.stream_recorder import StreamRecorder
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2


class ResumableStream:
    """Any other stream (sse.Stream) with ids put in."""

    def __init__(self, stream: EventStream, trail: StreamRecorder, *, resumed: bool) -> None:
        """resumed: the client has had its beginning."""
        self._stream, self._trail, self._resumed = stream, trail, resumed

    def open(self) -> bytes:
        """One id for all opening events, on the last: whoever has not got that far begins again."""
        if self._resumed:
            return b""
        before, data, last = self._stream.open().rpartition(b"data: {")
        return before + self._id() + data + last if data else b""

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        return b"".join([self._frame(delta) for delta in deltas])

    def close(self, used: worker_pb2.Usage) -> bytes:
        self._trail.end()
        return self._stream.close(used)

    def fail(self, error: TidegateError) -> bytes:
        self._trail.end()
        return self._stream.fail(error)

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        self._trail.take(delta)
        frame = self._stream.frames((delta,))
        return self._id() + frame if frame else b""

    def _id(self) -> bytes:
        """An empty id makes a client forget the one before, from which it would get again what it has."""
        return b"id: %b\n" % self._trail.id()
