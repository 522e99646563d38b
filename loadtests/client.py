"""Sends one request at a time on each of many connections, and brings back its sample."""

import asyncio
from collections.abc import Callable

from loadtests.answer import Answer
from loadtests.connection import Connection
from loadtests.sample import Outcome, Sample
from loadtests.target import Target


class Client:
    """`now` counts seconds from the start of the run."""

    def __init__(self, target: Target, now: Callable[[], float], timeout_s: float) -> None:
        self._target, self._now, self._timeout_s = target, now, timeout_s
        self._ssl = target.ssl()
        self._idle: list[Connection] = []
        self.connections = 0
        self.resent = 0

    async def perform(self, request: bytes, sample: Sample, expected_tokens: int | None) -> None:
        """Fills in `sample`; whatever goes wrong is its outcome. Takes `timeout_s` at most."""
        sample.sent_s = self._now()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(request, sample, expected_tokens)
        except TimeoutError:
            sample.fail(Outcome.TIMEOUT, f"no end after {self._timeout_s:g} s", self._now())
        except OSError as error:
            sample.fail(Outcome.CONNECT_FAILED, str(error), self._now())

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()

    async def _exchange(self, request: bytes, sample: Sample, expected_tokens: int | None) -> None:
        """A server may close a kept connection at the moment it is used again; then a fresh one is tried, once."""
        for fresh in (False, True):
            connection = await self._connection(fresh=fresh)
            answer = Answer(sample, expected_tokens)
            await self._send(connection, request, answer)
            if answer.began or connection.requests == 1:
                return
            self.resent += 1

    async def _send(self, connection: Connection, request: bytes, answer: Answer) -> None:
        try:
            connection.send(request, answer)
            await answer.ended
        finally:
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.abort()

    async def _connection(self, *, fresh: bool) -> Connection:
        """The one used last goes first, so that the others may rest. Raises OSError."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        self.connections += 1
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._now), self._target.host, self._target.port, ssl=self._ssl
        )
        return made
