"""The HTTP client: sends each request on a kept connection and fills in its sample."""

import asyncio
from collections.abc import Callable

from loadtests.connection import Connection
from loadtests.response import ResponseReader
from loadtests.sample import Outcome, Sample
from loadtests.target import Target


class Client:
    """Sends requests to one server.

    Args:
        target: The server.
        now: Returns seconds since the start of the run.
        timeout_s: Seconds from sending to the end of the answer.
    """

    def __init__(self, target: Target, now: Callable[[], float], timeout_s: float) -> None:
        self._target, self._now, self._timeout_s = target, now, timeout_s
        self._ssl = target.ssl()
        self._idle: list[Connection] = []
        self.connections = 0
        self.resent = 0

    async def perform(self, request: bytes, sample: Sample, expected_tokens: int | None) -> None:
        """Sends a request and waits for its end, at most `timeout_s`. A failure becomes the sample's outcome."""
        sample.sent_s = self._now()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send_with_retry(request, sample, expected_tokens)
        except TimeoutError:
            sample.fail(Outcome.TIMEOUT, f"no end after {self._timeout_s:g} s", self._now())
        except OSError as error:
            sample.fail(Outcome.CONNECT_FAILED, str(error), self._now())

    def close(self) -> None:
        """Closes the idle connections."""
        for connection in self._idle:
            connection.abort()

    async def _send_with_retry(self, request: bytes, sample: Sample, expected_tokens: int | None) -> None:
        """A server may close a kept connection just as it is used again. Then the request is sent once on a new one."""
        for fresh in (False, True):
            connection = await self._connection(fresh=fresh)
            response = ResponseReader(sample, expected_tokens)
            await self._send(connection, request, response)
            if response.began or connection.requests == 1:
                return
            self.resent += 1

    async def _send(self, connection: Connection, request: bytes, response: ResponseReader) -> None:
        try:
            connection.send(request, response)
            await response.ended
        finally:
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.abort()

    async def _connection(self, *, fresh: bool) -> Connection:
        """Takes the connection that was used last, so that the others stay idle. Raises OSError."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        self.connections += 1
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._now), self._target.host, self._target.port, ssl=self._ssl
        )
        return made
