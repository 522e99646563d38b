"""Recorded responses: each belongs to an idempotency key, is written once, and is read by any number of clients.

Recordings are kept for a while. Their number and their bytes are bounded, for all tenants together and for each.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Message

from services.gateway.http.connection.client import EVENTS
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.key import HEADER, IdempotentRequest, Key
from services.shared.clock import Clock
from services.shared.errors import EngineFailed, Overloaded, TidegateError

KEPT_S = 600.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024


class Quota(Protocol):
    """Grants memory to recordings that grow."""

    def take(self, recording: "RecordedResponse", size: int, *, last: bool) -> None:
        """Grants a recording more bytes.

        Args:
            recording: the one that grows.
            size: how many bytes more.
            last: whether these are its last bytes, which are always granted.

        Raises:
            TidegateError: there is no memory for them.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """A place in a recording: before event `event` of message `message`, both counted from 0."""

    message: int
    event: int


BEGINNING = ReplayPosition(0, 0)


class RecordedResponse:
    """A response while it is made and after that: what was sent of it so far, for any number of readers.

    Attributes:
        request: the request that it answers.
        context: what was noted about the request.
        ended_at: when it ended, on the monotonic clock; None while it is made.
        error: what it failed with.
        size: bytes of its body.
    """

    def __init__(self, request: IdempotentRequest, context: RequestContext, quota: Quota) -> None:
        self.request, self.context, self._quota = request, context, quota
        self.ended_at: float | None = None
        self.error: TidegateError | None = None
        self.size = 0
        self._messages: list[Message] = []
        self._grown = asyncio.Event()

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.error is not None or self.context.status >= 400

    async def send(self, message: Message) -> None:
        """Records an ASGI message; this is ASGI's `send`. The last message is always kept: it ends the response.

        Raises:
            TidegateError: there is no memory for it.
        """
        if message["type"] == "http.response.start":
            self.context.status = message["status"]
        if size := _size(message):
            self._quota.take(self, size, last=not message.get("more_body", False))
            self.size += size
        self._messages.append(message)
        self._wake()

    def end(self, now: float, error: TidegateError | None) -> None:
        """Ends the recording. now: on the monotonic clock."""
        self.ended_at, self.error = now, error
        self._wake()

    async def message(self, index: int) -> Message | None:
        """Waits for a message and returns it; None: the response has ended before it.

        Raises:
            TidegateError: the response ended before its first message.
        """
        while index >= len(self._messages):
            if self.ended_at is not None:
                if self.error and not self._messages:
                    raise self.error
                return None
            await self._grown.wait()
        return self._messages[index]

    def find(self, after: str) -> ReplayPosition | None:
        """Returns where the event begins that follows the one with the id `after`; None when there is no such id."""
        if after == self.request.after:
            return BEGINNING
        if not after:
            return None
        event_id = after.encode()
        for index, message in enumerate(self._messages):
            for number, event in enumerate(message.get(EVENTS, ())):
                if event.id == event_id:
                    return ReplayPosition(index, number + 1)
        return None

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


def _size(message: Message) -> int:
    if events := message.get(EVENTS):
        return sum([event.size for event in events])
    return len(message.get("body", b""))


@dataclass(slots=True)
class Amount:
    """How much is kept.

    Attributes:
        responses: number of recordings.
        size: bytes of their bodies.
    """

    responses: int = 0
    size: int = 0

    def add(self, responses: int, size: int) -> None:
        """Adds to the amount; negative numbers take away."""
        self.responses += responses
        self.size += size

    def allows(self, limit: "Amount", responses: int, size: int) -> bool:
        """Returns whether the amount would stay within the limit if this much were added."""
        return self.responses + responses <= limit.responses and self.size + size <= limit.size


LIMIT = Amount(1024, 64 * 1024 * 1024)
TENANT_LIMIT = Amount(256, 16 * 1024 * 1024)


class RecordedResponses:
    """All recordings of this gateway, by idempotency key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: dict[Key, list[RecordedResponse]] = {}
        self._ended: dict[RecordedResponse, None] = {}
        """Recordings that have ended, in the order in which they ended."""
        self._total = Amount()
        self._by_tenant: dict[str, Amount] = {}

    def get(self, key: Key) -> Sequence[RecordedResponse]:
        """Returns the recordings of a key."""
        self._expire()
        return tuple(self._by_key.get(key, ()))

    def make_room(self, key: Key) -> None:
        """Makes room for one more recording of the key's tenant.

        Raises:
            Overloaded: recordings that are still made leave no room.
        """
        self._clear(key[0], responses=1)

    def add(self, recording: RecordedResponse) -> None:
        """Adds a recording that begins."""
        self._by_key.setdefault(recording.request.key, []).append(recording)
        self._count(recording, 1, 0)

    def take(self, recording: RecordedResponse, size: int, *, last: bool) -> None:
        """Grants a recording more bytes; see Quota.

        Raises:
            EngineFailed: this recording is too large.
            Overloaded: all recordings together are too large.
        """
        if not last:
            if recording.size + size > MAX_ANSWER_BYTES:
                raise EngineFailed(f"An answer to an {HEADER} can have {MAX_ANSWER_BYTES} bytes. Leave the header out.")
            self._clear(recording.request.key[0], size=size)
        self._count(recording, 0, size)

    def end(self, recording: RecordedResponse, error: TidegateError | None) -> None:
        """Ends a recording. A failed one is forgotten at once, so that the client can try again."""
        recording.end(self._clock.monotonic(), error)
        self._ended[recording] = None
        if recording.failed:
            self._forget(recording)

    def _expire(self) -> None:
        oldest = self._clock.monotonic() - KEPT_S
        while (first := next(iter(self._ended), None)) and (first.ended_at or oldest) < oldest:
            self._forget(first)

    def _clear(self, tenant: str, *, responses: int = 0, size: int = 0) -> None:
        """Forgets recordings that ended first, the tenant's own before those of others. Raises Overloaded."""
        while not self._by_tenant.get(tenant, Amount()).allows(TENANT_LIMIT, responses, size):
            self._forget_first(tenant)
        while not self._total.allows(LIMIT, responses, size):
            self._forget_first(None)

    def _forget_first(self, tenant: str | None) -> None:
        """Forgets one recording, of any tenant if None. Raises Overloaded when none has ended."""
        first = next((each for each in self._ended if tenant in (None, each.request.key[0])), None)
        if first is None:
            raise Overloaded(
                "Requests with an Idempotency-Key that are open leave no room. Try again, or leave the header out.",
                retry_after_s=1.0,
            )
        self._forget(first)

    def _forget(self, recording: RecordedResponse) -> None:
        del self._ended[recording]
        same_key = self._by_key[recording.request.key]
        same_key.remove(recording)
        if not same_key:
            del self._by_key[recording.request.key]
        self._count(recording, -1, -recording.size)

    def _count(self, recording: RecordedResponse, responses: int, size: int) -> None:
        tenant = recording.request.key[0]
        own = self._by_tenant.setdefault(tenant, Amount())
        for amount in (self._total, own):
            amount.add(responses, size)
        if own == Amount():
            del self._by_tenant[tenant]
