"""An answer that belongs to its Idempotency-Key: written once, read by everyone who asks, from where they like."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Message

from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.key import IdempotentRequest
from services.shared.errors import TidegateError


class Room(Protocol):
    def take(self, recording: "RecordedResponse", size: int, *, last: bool) -> None:
        """For so many bytes more. Raises TidegateError when there is none, except for the last ones."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """Of a recording: a message, and bytes of its body that go before."""

    message: int
    byte: int


BEGINNING = ReplayPosition(0, 0)


class RecordedResponse:
    """An answer as it is made: what was sent of it so far, for any number of readers."""

    def __init__(self, asked: IdempotentRequest, exchange: RequestContext, room: Room) -> None:
        self.asked, self.exchange, self._room = asked, exchange, room
        self.ended_at: float | None = None
        self.error: TidegateError | None = None
        self.size = 0
        self._messages: list[Message] = []
        self._more = asyncio.Event()

    @property
    def failed(self) -> bool:
        return self.error is not None or self.exchange.status >= 400

    async def send(self, message: Message) -> None:
        """ASGI's send. The last message is always kept: it ends the answer. Raises TidegateError for want of room."""
        if message["type"] == "http.response.start":
            self.exchange.status = message["status"]
        if size := len(message.get("body", b"")):
            self._room.take(self, size, last=not message.get("more_body", False))
            self.size += size
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

    def find(self, after: str) -> ReplayPosition | None:
        """Where the event begins that follows the one with this id; None when there is none with it."""
        if after == self.asked.after:
            return BEGINNING
        line = f"id: {after}\n".encode()
        for index, message in enumerate(self._messages):
            body: bytes = message.get("body", b"")
            if (at := body.find(line)) >= 0:
                return ReplayPosition(index, body.index(b"\n\n", at) + 2)
        return None

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()
