"""Idempotency-Key: a request that is sent again gets the response of the first one, while that is made or later.

Such a response belongs to its key and not to a connection. It is made to its end even if all clients leave, is kept
for a while, and is read by every client that sends the same key with the same body. A failed one is forgotten, so that
the client can try again. A stream is read from its beginning, or after the event that Last-Event-ID names. If this
gateway has no response with that event (another gateway made it), it makes a new one that continues there.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from services.gateway.http.connection.client import EVENTS, Client
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.key import HEADER, IdempotentRequest
from services.gateway.http.idempotency.recorded_responses import (
    BEGINNING,
    RecordedResponse,
    RecordedResponses,
    ReplayPosition,
)
from services.shared.clock import Clock
from services.shared.errors import Conflict, InternalError, TidegateError
from services.shared.lifecycle import Tasks


class Idempotency:
    """Answers requests that have an idempotency key."""

    def __init__(self, clock: Clock, stall_timeout_s: float) -> None:
        """Starts without recordings. stall_timeout_s: seconds that a client may read nothing."""
        self._stall_timeout_s = stall_timeout_s
        self._recordings = RecordedResponses(clock)
        self._tasks = Tasks()

    async def stop(self) -> None:
        """Cancels the responses that are still made."""
        await self._tasks.stop()

    def respond(self, request: Request, idempotent: IdempotentRequest, make: Callable[[], Response]) -> Response:
        """Answers a request.

        Args:
            request: the HTTP request.
            idempotent: its key, its body's digest, and the event after which it continues.
            make: makes a new response. Called only if no recording answers the request.

        Raises:
            Conflict: the key was used with another body.
            Overloaded: recordings that are still made leave no room.
            TidegateError: what `make` raised.
        """
        for recording in self._recordings.get(idempotent.key):
            if recording.request.digest != idempotent.digest:
                raise Conflict(
                    "This Idempotency-Key was used with another body.", param=HEADER, code="idempotency_key_reused"
                )
            if position := recording.find(idempotent.after):
                return ReplayedResponse(recording, position, self._stall_timeout_s)
        self._recordings.make_room(idempotent.key)
        recording = self._record(request.scope, idempotent, make())
        return ReplayedResponse(recording, BEGINNING, self._stall_timeout_s)

    def _record(self, scope: Scope, idempotent: IdempotentRequest, response: Response) -> RecordedResponse:
        # The recording lives on, so it must not hold the headers: one of them is the client's API key.
        context = replace(RequestContext.of(scope), headers={})
        recording = RecordedResponse(idempotent, context, self._recordings)
        self._recordings.add(recording)
        own_scope = {**scope, "state": {}}  # without the client's connection
        context.attach(own_scope)
        self._tasks.start(self._run(recording, response, own_scope), "idempotent response")
        return recording

    async def _run(self, recording: RecordedResponse, response: Response, scope: Scope) -> None:
        error: TidegateError | None = InternalError()
        try:
            await response(scope, _receive_nothing, recording.send)
            error = None
        except TidegateError as raised:
            error = raised
        finally:
            self._recordings.end(recording, error)


async def _receive_nothing() -> Message:
    """ASGI's `receive` of a response whose client never leaves, since the key's owner may come back."""
    await asyncio.Event().wait()
    raise AssertionError("never")


class ReplayedResponse(Response):
    """Sends a recording to one client, from a position on."""

    def __init__(self, recording: RecordedResponse, position: ReplayPosition, stall_timeout_s: float) -> None:
        self._recording, self._position, self._stall_timeout_s = recording, position, stall_timeout_s
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the recording. Raises the error of a response that never began."""
        recording, position = self._recording, self._position
        client = Client(scope, send, self._stall_timeout_s)
        client.context.model = recording.context.model
        index = 0
        while message := await recording.message(index):
            if message["type"] == "http.response.start":
                _copy_notes(recording.context, client.context)
                await client.start(list(message["headers"]))
            elif index >= position.message:
                first_event = position.event if index == position.message else 0
                await client.send(_body(message, first_event), more=message.get("more_body", False))
            index += 1
        client.context.status = recording.context.status


def _copy_notes(recorded: RequestContext, context: RequestContext) -> None:
    """Gives the replay's response the headers of the recorded one."""
    context.version, context.limits, context.ignored = recorded.version, recorded.limits, recorded.ignored


def _body(message: Message, first_event: int) -> bytes:
    """Encodes a message's events from `first_event` on; a message without events has its body."""
    if EVENTS not in message:
        body: bytes = message["body"]
        return body
    return b"".join([event.encode() for event in message[EVENTS][first_event:]])
