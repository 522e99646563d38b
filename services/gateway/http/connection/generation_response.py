"""A generation on its way to an HTTP client: as server-sent events while it runs, or as one document at the end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.domain.generation import Generation
from services.gateway.generation.event_stream import EventStream, GenerationHeader
from services.gateway.generation.token_stream import TokenStream
from services.gateway.http.connection.client import Client, Headers
from services.gateway.http.connection.late_errors import with_late_errors
from services.gateway.openai.completion_events import comment
from services.gateway.openai.documents import DocumentBuilder, collect
from services.gateway.openai.limit_headers import limit_headers
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.resume.resumable_stream import ResumableStream, StreamRecorder
from services.gateway.resume.resuming import Resumption
from services.shared.errors import TidegateError
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

# A stream that has not begun by then sends the request's position in the queue, and sends it again as often.
QUEUE_NEWS_INTERVAL_S = 2.0

STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Keeper(Protocol):
    """Keeps an answer for later."""

    async def ended(self, used: worker_pb2.Usage) -> None:
        """Keeps a complete answer, before the client learns that it is complete. It raises nothing."""
        ...

    async def broke(self, error: TidegateError) -> None:
        """Keeps an answer that will not be complete. It raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """How one endpoint shows a generation.

    Attributes:
        stream: makes the encoder of a stream, from header, number of choices, and whether to include usage.
        document: makes the builder of a document, from the number of choices.
        keeper: keeps the answer; None if nothing is kept.
    """

    stream: Callable[[GenerationHeader, int, bool], EventStream]
    document: Callable[[int], DocumentBuilder]
    keeper: Keeper | None = None


class GenerationResponse(Response):
    """Runs a generation and sends it.

    An error before the first byte is raised, and becomes a status. A later one becomes the stream's last event.
    """

    def __init__(
        self,
        generations: CachedGenerations,
        generation: Generation,
        response_format: ResponseFormat,
        stall_timeout_s: float,
        resumption: Resumption | None = None,
    ) -> None:
        """Makes a response that has not begun.

        Args:
            generations: runs the generation.
            generation: what to generate.
            response_format: how to show it.
            stall_timeout_s: seconds that the client may read nothing.
            resumption: for a stream whose events have ids.
        """
        self._generations, self._generation, self._format = generations, generation, response_format
        self._stall_timeout_s, self._resumption = stall_timeout_s, resumption
        self._events: EventStream | None = None
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response; this is ASGI."""
        client = Client(scope, send, self._stall_timeout_s)
        await with_late_errors(self._respond(client), client, self._generation.id, self._fail)

    async def _respond(self, client: Client) -> None:
        client.context.model = self._generation.model.id
        progress = await self._resumption.progress() if self._resumption else None
        # Events of a resumable stream have ids, which a cached response cannot have.
        directive = None if self._resumption else client.context.cache_directive
        with self._generations.open(self._generation, progress, directive) as stream, client.watched(stream):
            read = self._stream if self._generation.stream else self._collect
            rest = await read(stream, client)
            if self._format.keeper is None:
                await self._finish(rest, stream.usage, client)
                return
        # The worker's slot is free while the answer is kept.
        await self._format.keeper.ended(stream.usage)
        await self._finish(rest, stream.usage, client)

    async def _finish(self, rest: bytes | dict[str, Any], used: worker_pb2.Usage, client: Client) -> None:
        """Sends what is left once the answer is complete: the end of a stream, or the whole document."""
        if self._events and isinstance(rest, bytes):
            await client.send(rest + self._events.close(used), more=False)
            return
        await client.send_json(rest)

    async def _stream(self, stream: TokenStream, client: Client) -> bytes:
        """Sends the stream up to its last delta. Returns what was not sent yet."""
        await self._begin(stream, client)
        resumption = self._resumption
        self._events = events = self._open(resumption.header(stream) if resumption else GenerationHeader.of(stream))
        await client.start(STREAM_HEADERS)
        recorder = resumption.recorder(stream) if resumption else None
        if resumption and recorder:
            await _send_with_ids(stream, resumption.with_ids(events, recorder), recorder, client)
            return b""
        return await _send_events(stream, events, client)

    async def _begin(self, stream: TokenStream, client: Client) -> None:
        """Waits for the first tokens; sends the position in the queue to a client that waits long."""
        while True:
            try:
                async with asyncio.timeout(QUEUE_NEWS_INTERVAL_S):
                    return await stream.begin()
            except TimeoutError:
                # The version is left open: until the first token a worker of another one may take the request over.
                client.context.limits = limit_headers(stream.limits)
                await client.start(STREAM_HEADERS)
                await client.send(comment(queue_news(stream.queued)))
            finally:
                note_headers(stream, client)

    async def _collect(self, stream: TokenStream, client: Client) -> dict[str, Any]:
        try:
            await stream.begin()
            return await collect(stream, self._format.document(self._generation.sampling.n))
        finally:
            note_headers(stream, client)

    def _open(self, header: GenerationHeader) -> EventStream:
        return self._format.stream(header, self._generation.sampling.n, self._generation.include_usage)

    async def _fail(self, error: TidegateError, client: Client) -> None:
        if self._events and self._format.keeper:
            await self._format.keeper.broke(error)
        await client.fail(error, self._error_event(error))

    def _error_event(self, error: TidegateError) -> bytes:
        generation = self._generation
        events = self._events or self._open(
            GenerationHeader(
                generation.id, generation.created, generation.model.id, generation.service_class.label, "none"
            )
        )
        return events.fail(error)


async def _send_events(stream: TokenStream, events: EventStream, client: Client) -> bytes:
    """Sends a stream without ids, up to its last delta. Returns what was not sent yet."""
    unsent = b"".join(events.open())

    def sink(deltas: list[worker_pb2.Delta]) -> bool:
        """Sends deltas as they arrive. A client that does not keep up gets them from the loop below."""
        if not client.keeps_up:
            return False
        client.write(events.frames(deltas))
        return True

    stream.deliver_to(sink)
    version = stream.version
    while deltas := await stream.read():
        if stream.version != version:
            version = stream.version
            events.go_on_with(version, stream.spans)
        if frames := unsent + events.frames(deltas):
            await client.send(frames)
        unsent = b""
    return unsent


async def _send_with_ids(
    stream: TokenStream, resumable: ResumableStream, recorder: StreamRecorder, client: Client
) -> None:
    """Sends a stream with ids, up to the last delta."""
    unsent, version = resumable.open(), stream.version
    try:
        while deltas := await stream.read():
            if stream.version != version:
                version = stream.version
                resumable.go_on_with(version, stream.spans)
            if events := unsent + resumable.events(deltas):
                await client.send_events(events)
            unsent = []
    finally:
        recorder.end()
    if unsent:
        await client.send_events(unsent)


def note_headers(stream: TokenStream, client: Client) -> None:
    """Notes what the response's headers say, whether the generation succeeds or fails."""
    client.context.version = stream.version or "none"
    client.context.limits = limit_headers(stream.limits)


def queue_news(queued: router_pb2.Queued | None) -> str:
    """Returns what a client that waits is told."""
    if queued is None:
        return "keep-alive"
    # Nobody who waits still is told "0 s", whatever the estimate.
    return f"queued {queued.position}, about {max(1, -(-queued.expected_wait_ms // 1000))} s"
