"""Decides which streams can be resumed, and continues them after the last event that their client has seen."""

from collections.abc import Callable
from dataclasses import replace

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import PLAIN, Generation
from services.gateway.domain.secrets import ServerSecret
from services.gateway.generation.event_stream import EventStream, GenerationHeader
from services.gateway.generation.progress import Progress
from services.gateway.generation.token_stream import TokenStream
from services.gateway.resume.event_ids import HEADER, EventIds, StreamPosition
from services.gateway.resume.resumable_stream import ResumableStream, StreamRecorder
from services.gateway.resume.resume_log import ResumeLogClient
from services.gateway.resume.stream_log import StreamLog, restore
from services.shared.config import Cluster
from services.shared.errors import Conflict, InvalidRequest
from tidegate.router.v1 import router_pb2


class Resuming:
    """Opens a Resumption for each stream that can be resumed: on this gateway, or on any other."""

    def __init__(
        self, cluster: Cluster, secret: ServerSecret, resume_log: ResumeLogClient, latest: Callable[[], Catalog | None]
    ) -> None:
        """Makes the opener.

        Args:
            cluster: says which pools keep a resume log (`journal` in tidegate.yaml), and how much of each stream.
            secret: signs event ids; the same on every gateway.
            resume_log: stores the streams.
            latest: returns the last catalog that a router sent; None before the first.
        """
        self._latest = latest
        self._max_bytes = {pool.name: pool.journal.stream_kib * 1024 for pool in cluster.pools if pool.journal}
        self._key, self._resume_log = secret.key("event-ids"), resume_log

    def open(self, generation: Generation, request: bytes, after: str) -> "Resumption | None":
        """Opens the resumption of one stream.

        Args:
            generation: what the client asks for.
            request: what identifies the request; the same each time the client sends it.
            after: id of the last event that the client has; empty to begin.

        Returns:
            None when this stream has no event ids.

        Raises:
            InvalidRequest: `after` is not an id of this request, or the stream has no ids.
        """
        max_bytes = self._max_bytes.get(generation.model.pool)
        # A log has neither each token's place in the text, which log probabilities give, nor tokens of the prompt.
        shows_more = generation.sampling.HasField("top_logprobs") or generation.shown is not PLAIN
        if not max_bytes or not generation.stream or shows_more:
            if after:
                raise InvalidRequest("The stream of this request cannot be resumed.", param=HEADER)
            return None
        ids = EventIds(self._key, request)
        position = ids.read(after) if after else None
        return Resumption(generation, ids, position, self._resume_log, max_bytes, self._served_versions(generation))

    def _served_versions(self, generation: Generation) -> tuple[str, ...]:
        catalog = self._latest()
        return catalog.versions.get(generation.model.pool, ()) if catalog else ()


class Resumption:
    """One stream with event ids: from its beginning, or from the position that its client has reached."""

    def __init__(
        self,
        generation: Generation,
        ids: EventIds,
        position: StreamPosition | None,
        resume_log: ResumeLogClient,
        max_bytes: int,
        served_versions: tuple[str, ...],
    ) -> None:
        """Makes a resumption; `Resuming.open` does.

        Args:
            generation: what the client asks for.
            ids: makes and reads the stream's event ids.
            position: where the client is; None at the beginning.
            resume_log: stores the stream.
            max_bytes: most bytes that the resume log stores of the stream.
            served_versions: versions of the model that workers serve now; empty while there are no workers.
        """
        self._generation, self._ids, self._position = generation, ids, position
        self._resume_log, self._max_bytes, self._served_versions = resume_log, max_bytes, served_versions
        self._log = b""
        self._record = router_pb2.StreamLog()

    async def progress(self) -> Progress | None:
        """Returns how much of the generation the client has; None when it begins.

        Raises:
            NotFound: the resume log does not have the stream any more.
            Conflict: the model was brought to another version since the stream began.
            StoreUnavailable: no router can read the resume log now.
        """
        if self._position is None:
            return None
        self._log = await self._resume_log.read(self._generation.model.pool, self._position)
        self._record, progress = restore(self._log, self._generation.sampling.n or 1)
        replaced = self._served_versions and progress.version not in self._served_versions
        if replaced and progress.begun and not progress.complete:
            raise Conflict(
                "The model has been brought to another version since this stream began. Send the request without "
                "Last-Event-ID to begin again.",
                param=HEADER,
                code="version_replaced",
            )
        return progress

    def header(self, stream: TokenStream) -> GenerationHeader:
        """Returns the header of a stream that has begun, with the id and time that its client knows."""
        header = GenerationHeader.of(stream)
        if self._position is None:
            return header
        return replace(header, id=self._record.answer_id, created=self._record.created)

    def recorder(self, stream: TokenStream) -> StreamRecorder | None:
        """Returns what records a stream that has begun; None when no other worker could continue it."""
        if not stream.resumable:
            return None
        beginning = self._log or _beginning(stream, self.header(stream))
        log = StreamLog(self._generation, beginning, self._max_bytes)
        return StreamRecorder(log, self._ids, self._resume_log)

    def with_ids(self, stream: EventStream, recorder: StreamRecorder) -> ResumableStream:
        """Returns a stream's events with their ids."""
        return ResumableStream(stream, recorder, resumed=self._position is not None)


def _beginning(stream: TokenStream, header: GenerationHeader) -> bytes:
    record = router_pb2.StreamLog(
        answer_id=header.id,
        created=header.created,
        model_version=stream.model_version,
        adapter_version=stream.version if stream.generation.model.adapter else "",
        prompt_tokens=stream.usage.prompt_tokens,
        cached_tokens=stream.usage.cached_tokens,
    )
    return record.SerializeToString()
