"""The client's end of one HTTP connection: it may stall, or close the connection."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
from starlette.types import Scope, Send

from services.gateway.generation.token_stream import TokenStream
from services.gateway.http.connection.protocol import CONNECTION, Connection
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.resume.resumable_stream import Event
from services.shared.errors import ClientLeft, TidegateError

Headers = list[tuple[bytes, bytes]]
EVENTS = "tidegate.events"
"""Key of an ASGI body message that has events instead of a body. Only recorded responses get such messages."""


class WriteTimeout:
    """Bounds each wait for the client to read. One timer serves a whole response, because most waits are short.

    Attributes:
        expired: whether one wait lasted too long.
    """

    def __init__(self, limit_s: float, give_up: Callable[[], None]) -> None:
        """Makes a timer that does not run yet.

        Args:
            limit_s: seconds that one wait may last.
            give_up: called when a wait lasts longer.
        """
        self._loop = asyncio.get_running_loop()
        self._limit_s, self._give_up = limit_s, give_up
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.expired = False

    def begin(self) -> None:
        """Begins a wait."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._limit_s, self._check)

    def end(self, *, last: bool = False) -> None:
        """Ends a wait. last: no other wait follows."""
        self._since = None
        if last and self._timer:
            self._timer.cancel()

    def _check(self) -> None:
        """Runs when the first wait would be too long. By then it is mostly over, and another one may have begun."""
        self._timer = None
        if self._since is None:
            return
        left_s = self._since + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check)
        else:
            self.expired = True
            self._give_up()


class Client:
    """Sends one response to its client, or to its recording if the request has an idempotency key.

    Attributes:
        started: whether the status has been sent.
    """

    def __init__(self, scope: Scope, send: Send, stall_timeout_s: float) -> None:
        """Makes the client of one request.

        Args:
            scope: ASGI scope of the request.
            send: ASGI send of the request.
            stall_timeout_s: seconds that the client may read nothing.
        """
        self._scope, self._send = scope, send
        self._timeout = WriteTimeout(stall_timeout_s, self._abort)
        # A recorded response has no connection: its clients read the recording.
        self._connection: Connection | None = scope["state"].get(CONNECTION)
        self.started = False

    @property
    def context(self) -> RequestContext:
        """What is known of the request."""
        return RequestContext.of(self._scope)

    async def start(self, headers: Headers) -> None:
        """Sends status 200, which is final whatever happens later. A second call does nothing."""
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    @property
    def keeps_up(self) -> bool:
        """Whether `write` would not have to wait. Only for a stream that has started."""
        return self._connection is not None and self._connection.keeps_up

    def write(self, body: bytes) -> None:
        """Sends like `send`, but without waiting and without the framework. Only while the client keeps up."""
        if body and self._connection:
            self._connection.write(body)

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """Sends a part of the body.

        Args:
            body: the bytes.
            more: whether another part follows.

        Raises:
            ClientLeft: the client read nothing for the stall timeout.
        """
        if not self.keeps_up:
            self._timeout.begin()
        try:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            self._timeout.end(last=not more)
        if self._timeout.expired:
            raise ClientLeft("The client stopped reading.")

    async def send_json(self, document: Any) -> None:
        """Sends a whole response with this body. Raises ClientLeft."""
        body = orjson.dumps(document)
        await self.start([(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())])
        await self.send(body, more=False)

    async def send_events(self, events: Sequence[Event]) -> None:
        """Sends events. A recording gets them unencoded, so that it can find one by its id.

        Raises:
            ClientLeft: the client read nothing for the stall timeout.
        """
        if self._connection is None:
            await self._send({"type": "http.response.body", EVENTS: events, "more_body": True})
        else:
            await self.send(b"".join([event.encode() for event in events]))

    async def fail(self, error: TidegateError, last_part: bytes) -> None:
        """Ends a response that had started, with an error.

        Args:
            error: its status is counted in place of the 200 that was sent.
            last_part: the rest of the body, which tells the client of the error.
        """
        self.context.status = error.wire.http
        if not isinstance(error, ClientLeft):
            await self.send(last_part, more=False)

    def watched(self, stream: TokenStream) -> AbstractContextManager[None]:
        """Interrupts a stream if the client leaves within the block. A recording has no client that could leave."""
        if self._connection is None:
            return nullcontext()
        return self._connection.watched(lambda: stream.interrupt(ClientLeft("The client left.")))

    def _abort(self) -> None:
        """Closes the connection and drops what is unsent, which nobody would read. A waiting `send` then goes on."""
        if self._connection:
            self._connection.abort()
