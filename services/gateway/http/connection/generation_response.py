"""An answer on its way to an HTTP client: events as they come, or one document at the end."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.domain.generation import Generation
from services.gateway.generation.token_stream import TokenStream
from services.gateway.http.connection.client import Client, Headers
from services.gateway.http.limit_headers import limit_headers
from services.gateway.openai.documents import DocumentBuilder
from services.gateway.openai.gathering import gather, head_of
from services.gateway.openai.sse import EventStream, GenerationHeader, comment
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.resume.resuming import Resumption
from services.shared.errors import InternalError, TidegateError
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

log = logging.getLogger(__name__)

# A stream that has not begun by then begins with word of its place in the queue, and hears more of it as often.
NEWS_INTERVAL_S = 2.0

_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """How one endpoint shows an answer."""

    stream: Callable[[GenerationHeader, int, bool], EventStream]
    whole: Callable[[int], DocumentBuilder]


class GenerationResponse(Response):
    """Errors before the first byte are raised and become proper statuses; later ones become the stream's last event."""

    def __init__(
        self,
        answers: CachedGenerations,
        generation: Generation,
        shape: ResponseFormat,
        stall_timeout_s: float,
        resumable: Resumption | None = None,
    ) -> None:
        self._answers, self._generation, self._shape = answers, generation, shape
        self._stall_timeout_s, self._resumable = stall_timeout_s, resumable
        self._frames: EventStream | None = None
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Client(scope, send, self._stall_timeout_s)
        try:
            await self._answer(client)
        except TidegateError as error:
            if not client.started:
                raise
            await client.fail(error, self._last_words(error))
        except Exception:
            if not client.started:
                raise
            log.exception("a stream failed", extra={"request_id": self._generation.id})
            await client.fail(InternalError(), self._last_words(InternalError()))

    async def _answer(self, client: Client) -> None:
        client.exchange.model = self._generation.model.id
        progress = await self._resumable.progress() if self._resumable else None
        # What a journal keeps has events of its own to go on after.
        wish = None if self._resumable else client.exchange.wish
        with self._answers.open(self._generation, progress, wish) as answer, client.watched(answer):
            await (self._stream(answer, client) if self._generation.stream else self._whole(answer, client))

    async def _stream(self, answer: TokenStream, client: Client) -> None:
        await self._begin(answer, client)
        kept = self._resumable
        self._frames = stream = kept.stream(answer, self._open) if kept else self._open(head_of(answer))
        await client.start(_STREAM_HEADERS)
        unsent = stream.open()

        def at_once(deltas: list[worker_pb2.Delta]) -> bool:
            """In the pass that brought them; a client that does not keep up gets them from the loop below."""
            if not client.keeps_up:
                return False
            client.write(stream.frames(deltas))
            return True

        answer.deliver_to(at_once)
        while deltas := await answer.read():
            if frames := unsent + stream.frames(deltas):
                await client.send(frames)
            unsent = b""
        await client.send(unsent + stream.close(answer.usage), more=False)

    async def _begin(self, answer: TokenStream, client: Client) -> None:
        """Waits for the first tokens; a client that has to wait long is told so."""
        while True:
            try:
                async with asyncio.timeout(NEWS_INTERVAL_S):
                    return await answer.begin()
            except TimeoutError:
                _note(answer, client)
                await client.start(_STREAM_HEADERS)
                await client.send(comment(_news(answer.queued)))
            finally:
                _note(answer, client)

    async def _whole(self, answer: TokenStream, client: Client) -> None:
        try:
            await answer.begin()
        finally:
            _note(answer, client)
        body = orjson.dumps(await gather(answer, self._shape.whole(self._generation.sampling.n)))
        await client.start([(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
        await client.send(body, more=False)

    def _open(self, head: GenerationHeader) -> EventStream:
        return self._shape.stream(head, self._generation.sampling.n, self._generation.include_usage)

    def _last_words(self, error: TidegateError) -> bytes:
        asked = self._generation
        stream = self._frames or self._open(
            GenerationHeader(asked.id, asked.created, asked.model.id, asked.service_class.label, "none")
        )
        return stream.fail(error)


def _note(answer: TokenStream, client: Client) -> None:
    """What headers say, whether the answer comes or an error."""
    client.exchange.version = answer.version or "none"
    client.exchange.limits = limit_headers(answer.limits)


def _news(queued: router_pb2.Queued | None) -> str:
    if queued is None:
        return "keep-alive"
    return f"queued {queued.position}, about {-(-queued.expected_wait_ms // 1000)} s"
