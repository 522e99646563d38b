"""The answers to several prompts of one request on their way to an HTTP client.

Each prompt is a generation of its own: it waits in the queue, counts against limits, has its row in the ledger and
survives its worker like any other. Nothing is sent before the router has taken all of them. Then the events of a stream
come as the answers are made, mixed; a document comes when all are complete. One that fails ends all the others.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.domain.generation import Generation
from services.gateway.generation.event_stream import EventStream, GenerationHeader
from services.gateway.generation.token_stream import TokenStream
from services.gateway.http.connection.client import Client
from services.gateway.http.connection.generation_response import (
    QUEUE_NEWS_INTERVAL_S,
    STREAM_HEADERS,
    ResponseFormat,
    note_headers,
    queue_news,
)
from services.gateway.http.connection.late_errors import with_late_errors
from services.gateway.openai.completion_events import comment, event
from services.gateway.openai.documents import collect, joined
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.response_cache.policy import CacheDirective
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2

T = TypeVar("T")
Asked = tuple[Generation, ResponseFormat]


class PromptsResponse(Response):
    """Runs the generations of all prompts at once and sends their answers.

    An error before the first byte is raised, and becomes a status. A later one becomes the stream's last event.
    """

    def __init__(self, generations: CachedGenerations, asked: Sequence[Asked], stall_timeout_s: float) -> None:
        """Makes a response that has not begun.

        Args:
            generations: runs the generations.
            asked: for each prompt, what to generate and how to show it. All have the same model and sampling.
            stall_timeout_s: seconds that the client may read nothing.
        """
        self._generations, self._asked, self._stall_timeout_s = generations, asked, stall_timeout_s
        self._first = asked[0][0]
        self._untaken = self._unbegun = len(asked)
        self._all_taken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._directives: list[CacheDirective] = []
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response; this is ASGI."""
        client = Client(scope, send, self._stall_timeout_s)
        client.context.model = self._first.model.id
        send_all = self._stream if self._first.stream else self._send_document
        await with_late_errors(send_all(client), client, self._first.id, _fail)

    async def _send_document(self, client: Client) -> None:
        documents = await _all_of([self._document(index, client) for index in range(len(self._asked))])
        self._note_cache(client)
        await client.send_json(joined(documents))

    async def _document(self, index: int, client: Client) -> dict[str, Any]:
        generation, response_format = self._asked[index]
        with self._open(index, client) as stream:
            await self._begin(stream, client)
            document = await collect(stream, response_format.document(generation.sampling.n))
            note_headers(stream, client)
            return document

    async def _stream(self, client: Client) -> None:
        news = asyncio.create_task(self._tell_news(client), name="queue-news")
        try:
            ends = await _all_of([self._send_events(index, client) for index in range(len(self._asked))])
        finally:
            news.cancel()
            await asyncio.gather(news, return_exceptions=True)
        await client.send(ends[0][0].close(_sum(used for _, used in ends)), more=False)

    async def _send_events(self, index: int, client: Client) -> tuple[EventStream, worker_pb2.Usage]:
        """Sends the events of one prompt; returns what encoded them, and the tokens that were used."""
        with self._open(index, client) as stream:
            await self._begin(stream, client)
            await self._all_taken.wait()
            events = self._encoder(index, stream)
            await self._send(b"".join(events.open()), client)
            self._unbegun -= 1

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
                await self._send(events.frames(deltas), client)
            return events, stream.usage

    @contextmanager
    def _open(self, index: int, client: Client) -> Iterator[TokenStream]:
        """Opens the stream of one prompt; an error about the prompt names its place in the request."""
        directive = CacheDirective() if client.context.cache_directive else None
        try:
            with (
                self._generations.open(self._asked[index][0], None, directive) as stream,
                client.watched(stream),
            ):
                if directive:
                    self._directives.append(directive)
                yield stream
        except TidegateError as error:
            if error.param == "prompt":
                error.param = f"prompt[{index}]"
            raise

    async def _begin(self, stream: TokenStream, client: Client) -> None:
        try:
            await stream.admit()
            self._untaken -= 1
            if not self._untaken:
                self._all_taken.set()
            await stream.begin()
        finally:
            note_headers(stream, client)

    def _encoder(self, index: int, stream: TokenStream) -> EventStream:
        """Returns the encoder of one prompt's events, which have the id of the whole response."""
        generation, response_format = self._asked[index]
        header = replace(GenerationHeader.of(stream), id=self._first.id)
        return response_format.stream(header, generation.sampling.n, generation.include_usage)

    async def _send(self, body: bytes, client: Client) -> None:
        """Sends a part of the body; answers that are made at once take turns."""
        async with self._writing:
            if not client.started:
                self._note_cache(client)
                await client.start(STREAM_HEADERS)
            if body:
                await client.send(body)

    async def _tell_news(self, client: Client) -> None:
        """Tells a client at intervals that some of its prompts still wait."""
        await self._all_taken.wait()
        while True:
            await asyncio.sleep(QUEUE_NEWS_INTERVAL_S)
            if not self._unbegun:
                return
            await self._send(comment(queue_news(None)), client)

    def _note_cache(self, client: Client) -> None:
        """The answer is a hit if all of its parts are."""
        if directive := client.context.cache_directive:
            outcomes = {each.outcome for each in self._directives}
            directive.outcome = "bypass" if "bypass" in outcomes else "miss" if "miss" in outcomes else "hit"


async def _fail(error: TidegateError, client: Client) -> None:
    await client.fail(error, event(error.body()))


async def _all_of(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Returns the results of all, in order. If one fails, the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sum(parts: Iterable[worker_pb2.Usage]) -> worker_pb2.Usage:
    total = worker_pb2.Usage()
    for part in parts:
        total.prompt_tokens += part.prompt_tokens
        total.cached_tokens += part.cached_tokens
        total.completion_tokens += part.completion_tokens
        total.reasoning_tokens += part.reasoning_tokens
        total.accepted_draft_tokens += part.accepted_draft_tokens
    return total
