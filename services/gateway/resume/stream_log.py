"""The log of one stream: every delta that went to its client, as bytes that only grow."""

from dataclasses import dataclass

from services.gateway.domain.generation import Generation
from services.gateway.generation.progress import ChoiceProgress, Progress
from tidegate.router.v1.router_pb2 import LogPart
from tidegate.router.v1.router_pb2 import StreamLog as Record
from tidegate.worker.v1 import worker_pb2

# What an event's id may carry of what the journal has not taken yet: about 100 tokens.
MAX_TAIL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a stream: the first `offset` bytes of the log that the journal has of `request_id`, then `tail`."""

    request_id: str
    offset: int
    tail: bytes


class StreamLog:
    """`kept`: bytes of it that the journal has."""

    def __init__(self, generation: Generation, begun: bytes, max_bytes: int) -> None:
        """begun: what it begins with, serialized. max_bytes: what the journal takes of one stream."""
        self.request_id, self._pool, self._tenant = generation.id, generation.model.pool, generation.caller.tenant
        self.kept = 0
        self._written = bytearray(begun)
        self._max_bytes = max_bytes
        self._full = False

    def take(self, delta: worker_pb2.Delta) -> None:
        more = Record()
        more.entries.add(
            choice=delta.choice,
            token_ids=delta.token_ids,
            text_end=delta.text_end,
            finished=delta.finish_reason != worker_pb2.FINISH_REASON_UNSPECIFIED,
        )
        self._written += more.SerializeToString()

    def point(self) -> Point | None:
        """Where the stream is now; None while the journal is so far behind that nobody could go on from here."""
        if len(self._written) - self.kept > MAX_TAIL_BYTES:
            return None
        return Point(self.request_id, self.kept, bytes(self._written[self.kept :]))

    def part(self, max_bytes: int) -> LogPart | None:
        """What the journal should write next, if anything. A stream that has outgrown it is left as it was."""
        if self._full or len(self._written) > self._max_bytes or len(self._written) == self.kept:
            return None
        data = bytes(self._written[self.kept : self.kept + max_bytes])
        return LogPart(request_id=self.request_id, pool=self._pool, tenant=self._tenant, offset=self.kept, data=data)

    def note(self, kept: int, *, full: bool) -> None:
        """What the journal has said. Less than before: it has lost some, which is written again."""
        self._full = full
        if not full:
            self.kept = kept


def restored(log: bytes, choices: int) -> tuple[Record, Progress]:
    """What a log says: how the stream began, and how far its client has come."""
    record = Record.FromString(log)
    progress = Progress(
        choices_expected=choices,
        prompt_tokens=record.prompt_tokens,
        cached_tokens=record.cached_tokens,
        version=record.model_version,
        resumable=True,
    )
    for entry in record.entries:
        choice = progress.choices.setdefault(entry.choice, ChoiceProgress())
        choice.token_ids.extend(entry.token_ids)
        choice.text_end, choice.finished = entry.text_end, entry.finished
    return record, progress
