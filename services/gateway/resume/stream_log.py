"""The log of one stream: every delta that went to its client, as bytes that only grow."""

from services.gateway.domain.generation import Generation
from services.gateway.generation.progress import ChoiceProgress, Progress
from services.gateway.resume.event_ids import StreamPosition
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# What an event id may carry of what the resume log has not stored yet: about 100 tokens.
MAX_TAIL_BYTES = 1024


class StreamLog:
    """Grows with every delta; the resume log stores it part by part.

    Attributes:
        request_id: names the log in the resume log.
        stored: bytes that the resume log has.
    """

    def __init__(self, generation: Generation, beginning: bytes, max_bytes: int) -> None:
        """Begins a log.

        Args:
            generation: what the stream generates.
            beginning: the log up to here: a serialized `router_pb2.StreamLog`.
            max_bytes: most bytes that the resume log stores of one stream.
        """
        self.request_id, self._pool, self._tenant = generation.id, generation.model.pool, generation.caller.tenant
        self.stored = 0
        self._log = bytearray(beginning)
        self._max_bytes = max_bytes
        self._full = False
        self._new_version = ""

    def go_on_with(self, version: str) -> None:
        """Another version of the model gives the deltas from here on."""
        self._new_version = version

    def append(self, delta: worker_pb2.Delta) -> None:
        """Adds a delta. Serialized messages can be concatenated, so the log stays one `router_pb2.StreamLog`."""
        more = router_pb2.StreamLog()
        more.entries.add(
            choice=delta.choice,
            token_ids=delta.token_ids,
            text_end=delta.text_end,
            finished=delta.finish_reason != worker_pb2.FINISH_REASON_UNSPECIFIED,
            model_version=self._new_version,
        )
        self._new_version = ""
        self._log += more.SerializeToString()

    def position(self) -> StreamPosition | None:
        """Returns where the stream is now; None while the resume log is too far behind to continue from here."""
        if len(self._log) - self.stored > MAX_TAIL_BYTES:
            return None
        return StreamPosition(self.request_id, self.stored, bytes(self._log[self.stored :]))

    def next_part(self, max_bytes: int) -> router_pb2.LogPart | None:
        """Returns what the resume log should store next; None if nothing. It stores no more of a log that is too long.

        Args:
            max_bytes: most bytes of the part's data.
        """
        if self._full or len(self._log) > self._max_bytes or len(self._log) == self.stored:
            return None
        return router_pb2.LogPart(
            request_id=self.request_id,
            pool=self._pool,
            tenant=self._tenant,
            offset=self.stored,
            data=bytes(self._log[self.stored : self.stored + max_bytes]),
        )

    def note_stored(self, length: int, *, full: bool) -> None:
        """Notes what the resume log has of this log.

        Args:
            length: bytes that it has. Fewer than before: it lost some, and they are written again.
            full: whether it takes no more of this log.
        """
        self._full = full
        if not full:
            self.stored = length


def restore(log: bytes, choices: int) -> tuple[router_pb2.StreamLog, Progress]:
    """Reads a log back.

    Args:
        log: a log, from its beginning.
        choices: how many choices the client asked for.

    Returns:
        The log as a message, and how much of the generation the client has.
    """
    record = router_pb2.StreamLog.FromString(log)
    progress = Progress(
        choices_expected=choices,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=record.cached_tokens,
        version=record.model_version,
        adapter_version=record.adapter_version,
        resumable=True,
    )
    for entry in record.entries:
        progress.go_on_with(entry.model_version or progress.version)
        choice = progress.choices.setdefault(entry.choice, ChoiceProgress())
        choice.token_ids.extend(entry.token_ids)
        choice.text_end, choice.finished = entry.text_end, entry.finished
    return record, progress
