"""An answer on its way to an HTTP client: events as they come, or one document at the end."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.answer import Answer, Answers
from services.gateway.generation import Generation
from services.gateway.openai.sse import Head, Stream, event
from services.gateway.openai.whole import Whole
from services.gateway.rest.exchange import Exchange
from services.gateway.rest.protocol import ABORT
from services.shared.errors import ClientLeft, InternalError, TidegateError

log = logging.getLogger(__name__)

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True)
class Shape:
    """How one endpoint shows an answer."""

    stream: Callable[[Head, int, bool], Stream]
    whole: Callable[[int], Whole]


class AnswerResponse(Response):
    """Errors before the first byte are raised and become proper statuses; later ones become the stream's last event."""

    def __init__(self, answers: Answers, generation: Generation, shape: Shape, stall_timeout_s: float) -> None:
        self._answers, self._generation, self._shape = answers, generation, shape
        self._stall_timeout_s = stall_timeout_s
        self._started = False
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(scope, send, self._stall_timeout_s)
        try:
            await self._answer(client, scope, receive)
        except TidegateError as error:
            if not self._started:
                raise
            await _end_with(error, client)
        except Exception:
            if not self._started:
                raise
            log.exception("a stream failed", extra={"request_id": self._generation.id})
            await _end_with(InternalError(), client)

    async def _answer(self, client: "_Client", scope: Scope, receive: Receive) -> None:
        exchange = Exchange.of(scope)
        exchange.model = self._generation.model.id
        with self._answers.open(self._generation) as answer:
            watcher = asyncio.create_task(_watch(receive, answer), name="watch for disconnect")
            try:
                await answer.begin()
                exchange.version = answer.version or "none"
                await (self._stream(answer, client) if self._generation.stream else self._whole(answer, client))
            finally:
                watcher.cancel()

    async def _stream(self, answer: Answer, client: "_Client") -> None:
        stream = self._shape.stream(_head(answer), self._choices, self._generation.include_usage)
        self._started = True
        await client.start(_STREAM_HEADERS)
        unsent = stream.open()
        while deltas := await answer.read():
            if frames := unsent + stream.frames(deltas):
                await client.send(frames)
            unsent = b""
        await client.send(unsent + stream.close(answer.usage), more=False)

    async def _whole(self, answer: Answer, client: "_Client") -> None:
        whole = self._shape.whole(self._choices)
        while deltas := await answer.read():
            whole.add(deltas)
        body = orjson.dumps(whole.document(_head(answer), answer.usage))
        self._started = True
        await client.start([(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
        await client.send(body, more=False)

    @property
    def _choices(self) -> int:
        return self._generation.sampling.n


class _Client:
    """The sending half of a connection, which may stall."""

    def __init__(self, scope: Scope, send: Send, stall_timeout_s: float) -> None:
        self._scope, self._send, self._stall_timeout_s = scope, send, stall_timeout_s

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """Raises ClientLeft when nothing was read for the stall time-out."""
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            self.abort()
            raise ClientLeft("The client stopped reading.") from None

    def abort(self) -> None:
        """Closes without waiting for what is unsent, which nobody would read."""
        self._scope["state"][ABORT]()

    def note(self, error: TidegateError) -> None:
        Exchange.of(self._scope).status = error.wire.http


async def _watch(receive: Receive, answer: Answer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.interrupt(ClientLeft("The client left."))


async def _end_with(error: TidegateError, client: _Client) -> None:
    """A stream that failed ends with the error and without [DONE]."""
    client.note(error)
    if not isinstance(error, ClientLeft):
        await client.send(event(error.body()), more=False)


def _head(answer: Answer) -> Head:
    asked = answer.generation
    return Head(asked.id, asked.created, asked.model.id, answer.service_class.label, answer.version)
