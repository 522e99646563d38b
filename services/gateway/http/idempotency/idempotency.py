"""Idempotency-Key: a request that is sent again gets the answer of the first one, while it comes or after it came.

Such an answer belongs to its key and not to the connection: it is made to its end whoever leaves, kept for a while, and
read by everyone who sends the same key with the same body. One that failed is forgotten, so that trying again tries.
A stream is read from its beginning, or from the event that Last-Event-ID names; an answer that has no such event (it is
another gateway's) is no answer to that, and a new one is made, from there on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.key import HEADER, IdempotentRequest
from services.gateway.http.idempotency.recording import BEGINNING, RecordedResponse
from services.gateway.http.idempotency.recordings import RecordedResponses
from services.gateway.http.idempotency.replay import ReplayedResponse
from services.shared.clock import Clock
from services.shared.errors import Conflict, InternalError, TidegateError
from services.shared.lifecycle import Tasks


class Idempotency:
    def __init__(self, clock: Clock, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._recordings = RecordedResponses(clock)
        self._tasks = Tasks()

    async def stop(self) -> None:
        await self._tasks.stop()

    def respond(self, request: Request, asked: IdempotentRequest, make: Callable[[], Response]) -> Response:
        """`make` is called only for what there is no answer to. Raises what it raises; Conflict for another body;
        Overloaded."""
        for recording in self._recordings.of(asked.key):
            if recording.asked.digest != asked.digest:
                raise Conflict(
                    "This Idempotency-Key was used with another body.", param=HEADER, code="idempotency_key_reused"
                )
            if place := recording.find(asked.after):
                return ReplayedResponse(recording, place, self._stall_timeout_s)
        self._recordings.make_room(asked.key)
        return ReplayedResponse(self._record(request.scope, asked, make()), BEGINNING, self._stall_timeout_s)

    def _record(self, scope: Scope, asked: IdempotentRequest, response: Response) -> RecordedResponse:
        # Without the headers, one of which is a key: a recording is kept.
        exchange = replace(RequestContext.of(scope), headers={})
        recording = RecordedResponse(asked, exchange, self._recordings)
        self._recordings.add(recording)
        own_scope = {**scope, "state": {}}  # nobody's connection
        exchange.attach(own_scope)
        self._tasks.start(self._run(recording, response, own_scope), "idempotent answer")
        return recording

    async def _run(self, recording: RecordedResponse, response: Response, scope: Scope) -> None:
        error: TidegateError | None = InternalError()
        try:
            await response(scope, _never, recording.send)
            error = None
        except TidegateError as told:
            error = told
        finally:
            self._recordings.end(recording, error)


async def _never() -> Message:
    """The key's owner may come back, so nobody ever leaves."""
    await asyncio.Event().wait()
    raise AssertionError("never")
