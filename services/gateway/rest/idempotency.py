"""Idempotency-Key: a request that is sent again gets the answer of the first one, while it comes or after it came.

Such an answer belongs to its key and not to the connection: it is made to its end whoever leaves, kept for a while, and
read by everyone who sends the same key with the same body. One that failed is forgotten, so that trying again tries.
A stream is read from its beginning, or from the event that Last-Event-ID names; an answer that has no such event (it is
another gateway's) is no answer to that, and a new one is made, from there on.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from services.gateway.asking.asking import identified
from services.gateway.journal import event_ids
from services.gateway.rest.client import Client
from services.gateway.rest.exchange import Exchange
from services.shared.clock import Clock
from services.shared.errors import Conflict, EngineFailed, InternalError, InvalidRequest, Overloaded, TidegateError
from services.shared.lifecycle import Tasks

HEADER = "idempotency-key"
MAX_KEY_CHARACTERS = 255
KEPT_S = 600.0
MAX_ANSWERS = 1024
MAX_ANSWERS_OF_TENANT = 256
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024

Key = tuple[str, str]
"""Tenant and what its client calls the request."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of a recording: a message, and bytes of its body that go before."""

    message: int
    byte: int


BEGINNING = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """after: id of the last event that the client has; empty when it has none."""

    key: Key
    digest: bytes
    after: str

    @classmethod
    def by(cls, request: Request, body: dict[str, Any]) -> "Asked | None":
        """None without the header. Raises InvalidRequest."""
        name, after = _header(request, HEADER), _header(request, event_ids.HEADER) or ""
        if name is None:
            if after:
                raise InvalidRequest("Only a request with an Idempotency-Key can be resumed.", param=event_ids.HEADER)
            return None
        if not 0 < len(name) <= MAX_KEY_CHARACTERS or not name.isprintable():
            raise InvalidRequest(
                f"One Idempotency-Key of 1 to {MAX_KEY_CHARACTERS} characters is needed.", param=HEADER
            )
        canonical = orjson.dumps([request.url.path, body], option=orjson.OPT_SORT_KEYS)
        caller = identified(Exchange.of(request.scope))
        return cls((caller.tenant, name), hashlib.sha256(canonical).digest(), after)

    @property
    def request(self) -> bytes:
        """What names the request on every gateway, however often it is sent."""
        return orjson.dumps([*self.key, self.digest.hex()])


def _header(request: Request, name: str) -> str | None:
    """Raises InvalidRequest."""
    value = Exchange.of(request.scope).header(name)
    if value is not None and len(request.headers.getlist(name)) > 1:
        raise InvalidRequest(f"There must be one {name} only.", param=name)
    return value


class Recording:
    """An answer as it is made: what was sent of it so far, for any number of readers."""

    def __init__(self, asked: Asked, exchange: Exchange) -> None:
        self.asked, self.exchange = asked, exchange
        self.ended_at: float | None = None
        self.error: TidegateError | None = None
        self.size = 0
        self._messages: list[Message] = []
        self._more = asyncio.Event()

    @property
    def failed(self) -> bool:
        return self.error is not None or self.exchange.status >= 400

    async def send(self, message: Message) -> None:
        """ASGI's send. Raises EngineFailed when the answer is larger than can be kept."""
        if message["type"] == "http.response.start":
            self.exchange.status = message["status"]
        self.size += len(message.get("body", b""))
        if self.size > MAX_ANSWER_BYTES and message.get("more_body"):
            raise EngineFailed(f"An answer to an {HEADER} can have {MAX_ANSWER_BYTES} bytes. Leave the header out.")
        self._messages.append(message)
        self._wake()

    def end(self, now: float, error: TidegateError | None) -> None:
        self.ended_at, self.error = now, error
        self._wake()

    async def message(self, index: int) -> Message | None:
        """None: there are no more. Raises the error of an answer that never began."""
        while index >= len(self._messages):
            if self.ended_at is not None:
                if self.error and not self._messages:
                    raise self.error
                return None
            await self._more.wait()
        return self._messages[index]

    def find(self, after: str) -> Place | None:
        """Where the event begins that follows the one with this id; None when there is none with it."""
        if after == self.asked.after:
            return BEGINNING
        line = f"id: {after}\n".encode()
        for index, message in enumerate(self._messages):
            body: bytes = message.get("body", b"")
            if (at := body.find(line)) >= 0:
                return Place(index, body.index(b"\n\n", at) + 2)
        return None

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class Idempotency:
    def __init__(self, clock: Clock, stall_timeout_s: float) -> None:
        self._clock, self._stall_timeout_s = clock, stall_timeout_s
        self._recordings: OrderedDict[Asked, Recording] = OrderedDict()
        self._tasks = Tasks()

    async def stop(self) -> None:
        await self._tasks.stop()

    def respond(self, request: Request, asked: Asked, make: Callable[[], Response]) -> Response:
        """`make` is called only for what there is no answer to. Raises what it raises; Conflict for another body;
        Overloaded."""
        for recording in [known for known in self._recordings.values() if known.asked.key == asked.key]:
            if recording.asked.digest != asked.digest:
                raise Conflict(
                    "This Idempotency-Key was used with another body.", param=HEADER, code="idempotency_key_reused"
                )
            if place := recording.find(asked.after):
                return Replay(recording, place, self._stall_timeout_s)
        self._make_room(asked.key[0])
        return Replay(self._record(request.scope, asked, make()), BEGINNING, self._stall_timeout_s)

    def _record(self, scope: Scope, asked: Asked, response: Response) -> Recording:
        # Without the headers, one of which is a key: a recording is kept.
        exchange = replace(Exchange.of(scope), headers={})
        recording = self._recordings[asked] = Recording(asked, exchange)
        own_scope = {**scope, "state": {}}  # nobody's connection
        exchange.attach(own_scope)
        self._tasks.start(self._run(recording, response, own_scope), "idempotent answer")
        return recording

    async def _run(self, recording: Recording, response: Response, scope: Scope) -> None:
        error: TidegateError | None = InternalError()
        try:
            await response(scope, _never, recording.send)
            error = None
        except TidegateError as told:
            error = told
        finally:
            recording.end(self._clock.monotonic(), error)
            if recording.failed:
                del self._recordings[recording.asked]

    def _make_room(self, tenant: str) -> None:
        """Forgets what is old, and then what ended first. Raises Overloaded when what is kept is still being made."""
        while self._full(tenant):
            ended = [asked for asked, recording in self._recordings.items() if recording.ended_at is not None]
            own = [asked for asked in ended if asked.key[0] == tenant]
            if not ended or (self._count(tenant) >= MAX_ANSWERS_OF_TENANT and not own):
                raise Overloaded("Too many requests with an Idempotency-Key are open.", retry_after_s=1.0)
            del self._recordings[(own or ended)[0]]

    def _full(self, tenant: str) -> bool:
        oldest = self._clock.monotonic() - KEPT_S
        for asked in [asked for asked, kept in self._recordings.items() if (kept.ended_at or oldest) < oldest]:
            del self._recordings[asked]
        size = sum(recording.size for recording in self._recordings.values())
        return len(self._recordings) >= MAX_ANSWERS or size >= MAX_BYTES or self._count(tenant) >= MAX_ANSWERS_OF_TENANT

    def _count(self, tenant: str) -> int:
        return sum(asked.key[0] == tenant for asked in self._recordings)


class Replay(Response):
    """A recording on its way to one client, from a place in it on."""

    def __init__(self, recording: Recording, place: Place, stall_timeout_s: float) -> None:
        self._recording, self._place, self._stall_timeout_s = recording, place, stall_timeout_s
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises the error of an answer that never began."""
        recording, client = self._recording, Client(scope, send, self._stall_timeout_s)
        client.exchange.model = recording.exchange.model
        index = 0
        while message := await recording.message(index):
            if message["type"] == "http.response.start":
                client.exchange.version, client.exchange.limits = recording.exchange.version, recording.exchange.limits
                await client.start(list(message["headers"]))
            elif index >= self._place.message:
                skipped = self._place.byte if index == self._place.message else 0
                await client.send(message["body"][skipped:], more=message.get("more_body", False))
            index += 1
        client.exchange.status = recording.exchange.status


async def _never() -> Message:
    """The key's owner may come back, so nobody ever leaves."""
    await asyncio.Event().wait()
    raise AssertionError("never")
