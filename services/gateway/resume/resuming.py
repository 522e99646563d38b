"""Streams that go on after the event that their client has last seen, on any gateway: which they are, and how."""

from collections.abc import Callable
from dataclasses import replace

from services.gateway.domain.catalog import Catalog
from services.gateway.domain.generation import Generation
from services.gateway.domain.secrets import ServerSecret
from services.gateway.generation.progress import Progress
from services.gateway.generation.token_stream import TokenStream
from services.gateway.openai.gathering import head_of
from services.gateway.openai.sse import EventStream, GenerationHeader
from services.gateway.resume.event_ids import HEADER, EventIds
from services.gateway.resume.resumable_stream import ResumableStream
from services.gateway.resume.resume_log import ResumeLogs
from services.gateway.resume.stream_log import Point, StreamLog, restored
from services.gateway.resume.stream_recorder import StreamRecorder
from services.shared.config import Cluster
from services.shared.errors import Conflict, InvalidRequest
from tidegate.router.v1.router_pb2 import StreamLog as Record


class Resuming:
    def __init__(
        self, cluster: Cluster, secret: ServerSecret, journal: ResumeLogs, latest: Callable[[], Catalog | None]
    ) -> None:
        """latest: the catalog as last heard from a router."""
        self._latest = latest
        self._max_bytes = {pool.name: pool.journal.stream_kib * 1024 for pool in cluster.pools if pool.journal}
        self._key, self._journal = secret.key("event-ids"), journal

    def of(self, generation: Generation, request: bytes, after: str) -> "Resumption | None":
        """None when this stream is not kept. Raises InvalidRequest for an event id (`after`) that is none of its own.

        request: what names the request, the same whenever it is sent.
        """
        max_bytes = self._max_bytes.get(generation.model.pool)
        # Log probabilities tell each token's place in the text, which a log does not know.
        if not max_bytes or not generation.stream or generation.sampling.HasField("top_logprobs"):
            if after:
                raise InvalidRequest("The stream of this request cannot be resumed.", param=HEADER)
            return None
        ids = EventIds(self._key, request)
        point = ids.read(after) if after else None
        return Resumption(generation, ids, point, self._journal, max_bytes, self._served(generation))

    def _served(self, generation: Generation) -> tuple[str, ...]:
        catalog = self._latest()
        return catalog.versions.get(generation.model.pool, ()) if catalog else ()


class Resumption:
    """One stream: from its beginning, or from the point that its client has come to."""

    def __init__(
        self,
        generation: Generation,
        ids: EventIds,
        point: Point | None,
        journal: ResumeLogs,
        max_bytes: int,
        served: tuple[str, ...],
    ) -> None:
        """served: versions of the model that there are workers of; none while there are no workers."""
        self._generation, self._ids, self._point = generation, ids, point
        self._journal, self._max_bytes, self._served = journal, max_bytes, served
        self._log = b""
        self._began = Record()

    async def progress(self) -> Progress | None:
        """How far the client has come; None when it begins. Raises NotFound, Conflict, StoreUnavailable."""
        if self._point is None:
            return None
        self._log = await self._journal.read(self._generation.model.pool, self._point)
        self._began, progress = restored(self._log, self._generation.sampling.n or 1)
        if self._served and progress.begun and not progress.complete and progress.version not in self._served:
            raise Conflict(
                "The model has been brought to another version since this stream began. Send the request without "
                "Last-Event-ID to begin again.",
                param=HEADER,
                code="version_replaced",
            )
        return progress

    def head(self, answer: TokenStream) -> GenerationHeader:
        """What the client knows the answer by since its beginning."""
        head = head_of(answer)
        return replace(head, id=self._began.answer_id, created=self._began.created) if self._point else head

    def trail(self, answer: TokenStream) -> StreamRecorder | None:
        """None where no other worker could go on with the answer."""
        if not answer.resumable:
            return None
        begun = self._log or _beginning(answer, self.head(answer))
        return StreamRecorder(StreamLog(self._generation, begun, self._max_bytes), self._ids, self._journal)

    def stream(self, answer: TokenStream, open_stream: Callable[[GenerationHeader], EventStream]) -> EventStream:
        """The answer's events, with ids if they can be gone on from."""
        stream, trail = open_stream(self.head(answer)), self.trail(answer)
        return ResumableStream(stream, trail, resumed=self._point is not None) if trail else stream


def _beginning(answer: TokenStream, head: GenerationHeader) -> bytes:
    record = Record(
        answer_id=head.id,
        created=head.created,
        model_version=answer.version,
        prompt_tokens=answer.usage.prompt_tokens,
        cached_tokens=answer.usage.cached_tokens,
    )
    return record.SerializeToString()
