"""The workload: requests at a given rate (open loop) or a given number always open (closed loop), and a log of each."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from loadtests.connection import Connection
from loadtests.target import Target
from tests.robustness.request import Request
from tests.robustness.response import Response, ResponseReader

TIMEOUT_S = 60.0
EVENT_STREAM = b"text/event-stream"

Pick = Callable[[], Request]


@dataclass(slots=True)
class RequestLog:
    """One request and all that came back. Times are seconds since the workload began.

    Attributes:
        status: HTTP status; 0 where no response came.
        arrivals_s: When each part of the body came.
        complete: The response ended as it should; nothing is missing.
        error: What went wrong, in words; empty where nothing did.
    """

    request: Request
    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    retry_after: bool = False
    arrivals_s: list[float] = field(default_factory=list)
    response: Response = field(default_factory=Response)
    complete: bool = False
    error: str = ""

    @property
    def took_s(self) -> float:
        return self.ended_s - self.sent_s

    @property
    def gap_s(self) -> float:
        """The longest pause between two parts of the body."""
        return max((later - sooner for sooner, later in pairwise(self.arrivals_s)), default=0.0)

    @property
    def refused(self) -> bool:
        """A clean refusal: 429 or 503, and a Retry-After header."""
        return self.status in (429, 503) and self.retry_after


class ResponseReceiver:
    """Writes one response into its log while it arrives. `ended` is done when the response is."""

    def __init__(self, log: RequestLog) -> None:
        self._log, self._reader, self._streamed = log, ResponseReader(), False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._log.status = status
        self._log.retry_after = b"retry-after" in headers
        self._streamed = headers.get(b"content-type", b"").startswith(EVENT_STREAM)
        self._log.response = self._reader.response

    def body(self, data: bytes, now_s: float) -> None:
        self._log.arrivals_s.append(now_s)
        (self._reader.event if self._streamed else self._reader.part)(data)

    def end(self, now_s: float) -> None:
        self._reader.end()
        self._close(now_s, self._reader.error)

    def lost(self, now_s: float, reason: str) -> None:
        if not self.ended.done():
            self._close(now_s, reason)

    def _close(self, now_s: float, error: str) -> None:
        self._log.ended_s, self._log.error, self._log.complete = now_s, error, self._reader.complete
        self.ended.set_result(None)


class Workload:
    """Sends requests to one target and keeps a log of each.

    Attributes:
        log: The requests of `open_loop` and `closed_loop`, in the order in which they ended.
    """

    def __init__(self, target: Target, random: Random) -> None:
        self.target, self._random = target, random
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.log: list[RequestLog] = []

    def now_s(self) -> float:
        """Seconds since the workload began."""
        return self._loop.time() - self._began

    async def expected_responses(self, requests: Iterable[Request]) -> dict[Request, Response]:
        """Sends each request once, before any fault, and returns the responses to compare with later."""
        logs = await asyncio.gather(*map(self.send, requests))
        assert all(log.complete and not log.error for log in logs), logs
        return {log.request: log.response for log in logs}

    async def open_loop(self, pick: Pick, per_second: float, meanwhile: asyncio.Task[Any]) -> None:
        """Sends requests at a rate, whatever became of earlier ones, until `meanwhile` is done.

        Returns when every request has ended.
        """
        due = self.now_s()
        async with asyncio.TaskGroup() as open_requests:
            while not meanwhile.done():
                due += self._random.expovariate(per_second)
                await asyncio.sleep(max(0.0, due - self.now_s()))
                open_requests.create_task(self._send_and_log(pick()))

    async def closed_loop(
        self, pick: Pick, clients: int, meanwhile: asyncio.Task[Any], paused: asyncio.Event | None = None
    ) -> None:
        """Keeps as many requests open as there are clients, until `meanwhile` is done.

        Returns when every request has ended.

        Args:
            pick: Chooses the next request.
            clients: Each sends its next request when its last one has ended.
            meanwhile: What happens at the same time.
            paused: While it is set, no client sends a new request.
        """
        async with asyncio.TaskGroup() as running:
            for _ in range(clients):
                running.create_task(self._client(pick, meanwhile, paused))

    async def _client(self, pick: Pick, meanwhile: asyncio.Task[Any], paused: asyncio.Event | None) -> None:
        while not meanwhile.done():
            if paused and paused.is_set():
                await asyncio.sleep(0.05)
            else:
                await self._send_and_log(pick())

    async def _send_and_log(self, request: Request) -> None:
        self.log.append(await self.send(request))

    async def send(self, request: Request) -> RequestLog:
        """Sends one request and returns its log, which `self.log` does not get."""
        log = RequestLog(request, self.now_s())
        receiver = ResponseReceiver(log)
        try:
            connection = await self.connection()
        except OSError as error:
            log.ended_s, log.error = self.now_s(), f"no connection: {error}"
            return log
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection.send(self.target.post(request.path, request.document), receiver)
                await receiver.ended
        except TimeoutError:
            log.ended_s, log.error = self.now_s(), f"no end after {TIMEOUT_S} s"
            connection.abort()
        if connection.usable:
            self._idle.append(connection)
        return log

    async def connection(self) -> Connection:
        """An idle connection, or a new one."""
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
        _, made = await self._loop.create_connection(lambda: Connection(self.now_s), self.target.host, self.target.port)
        return made

    def close(self) -> None:
        """Closes the idle connections."""
        for connection in self._idle:
            connection.abort()
