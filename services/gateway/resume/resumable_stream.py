"""A stream whose events have ids, so that its client can continue after any of them."""

from collections.abc import Iterable
from typing import NamedTuple

from services.gateway.generation.event_stream import EventStream
from services.gateway.generation.progress import VersionSpan
from services.gateway.resume.event_ids import EventIds
from services.gateway.resume.resume_log import ResumeLogClient
from services.gateway.resume.stream_log import StreamLog
from tidegate.worker.v1 import worker_pb2


class Event(NamedTuple):
    """A server-sent event before it is encoded.

    Attributes:
        id: the event's id. None: the event has no `id` line. Empty: its `id` line is empty, which makes a client forget
            the id before. Otherwise the client could continue from there, and would receive again what it has.
        data: all other lines of the event, and the empty line that ends it.
    """

    id: bytes | None
    data: bytes

    def encode(self) -> bytes:
        """Returns the event as it goes to the client."""
        return self.data if self.id is None else b"id: %b\n%b" % (self.id, self.data)

    @property
    def size(self) -> int:
        """Bytes that `encode` returns."""
        return len(self.data) + (0 if self.id is None else len(self.id) + len(b"id: \n"))


class StreamRecorder:
    """Writes the log of one stream, and knows the id of the position that the stream has reached."""

    def __init__(self, log: StreamLog, ids: EventIds, resume_log: ResumeLogClient) -> None:
        self._log, self._ids, self._resume_log = log, ids, resume_log
        resume_log.add(log)

    def append(self, delta: worker_pb2.Delta) -> None:
        """Adds a delta that goes to the client."""
        self._log.append(delta)

    def go_on_with(self, version: str) -> None:
        """Another version of the model gives what comes from here on."""
        self._log.go_on_with(version)

    def event_id(self) -> bytes:
        """Returns the id of the current position; empty when the stream cannot be continued from here."""
        position = self._log.position()
        return self._ids.make(position) if position else b""

    def end(self) -> None:
        """Stops writing. The last id carries what the resume log does not have."""
        self._resume_log.remove(self._log)


class ResumableStream:
    """Puts ids into the events of another stream."""

    def __init__(self, stream: EventStream, recorder: StreamRecorder, *, resumed: bool) -> None:
        """Wraps a stream.

        Args:
            stream: encodes the events.
            recorder: has the ids.
            resumed: whether the client has the opening events already.
        """
        self._stream, self._recorder, self._resumed = stream, recorder, resumed

    def open(self) -> list[Event]:
        """Returns the opening events. Only the last has an id: a client that has fewer of them begins again."""
        opening = [] if self._resumed else self._stream.open()
        last = len(opening) - 1
        return [Event(self._recorder.event_id() if n == last else None, data) for n, data in enumerate(opening)]

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """Another version of the model gives what comes from here on. spans: which tokens so far came from which."""
        self._recorder.go_on_with(version)
        self._stream.go_on_with(version, spans)

    def events(self, deltas: Iterable[worker_pb2.Delta]) -> list[Event]:
        """Returns the events of some deltas, each with its id."""
        events = []
        for delta in deltas:
            self._recorder.append(delta)
            if data := self._stream.frames((delta,)):
                events.append(Event(self._recorder.event_id(), data))
        return events
