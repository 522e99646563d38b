"""Traffic: requests that come when they are due, or streams that are always open; and all that came back of each."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from loadtests.connection import Connection
from loadtests.target import Target
from tests.robustness.answer import Answer, Reader
from tests.robustness.question import Question

TIMEOUT_S = 60.0
EVENT_STREAM = b"text/event-stream"

Pick = Callable[[], Question]


@dataclass(slots=True)
class Sent:
    """One request and all that came back. Times in seconds of the drill; status 0: no answer; done: nothing missing."""

    question: Question
    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    retry_after: bool = False
    arrivals_s: list[float] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    done: bool = False
    trouble: str = ""

    @property
    def took_s(self) -> float:
        return self.ended_s - self.sent_s

    @property
    def gap_s(self) -> float:
        """How long it stood still at most, once it had begun."""
        return max((later - sooner for sooner, later in pairwise(self.arrivals_s)), default=0.0)

    @property
    def refused(self) -> bool:
        """As it should be: not now, and when to come again."""
        return self.status in (429, 503) and self.retry_after


class Receiver:
    """One answer while it arrives."""

    def __init__(self, sent: Sent) -> None:
        self._sent, self._reader, self._streamed = sent, Reader(), False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._sent.status = status
        self._sent.retry_after = b"retry-after" in headers
        self._streamed = headers.get(b"content-type", b"").startswith(EVENT_STREAM)
        self._sent.answer = self._reader.answer

    def body(self, data: bytes, now_s: float) -> None:
        self._sent.arrivals_s.append(now_s)
        (self._reader.event if self._streamed else self._reader.part)(data)

    def end(self, now_s: float) -> None:
        self._reader.end()
        self._close(now_s, self._reader.error)

    def lost(self, now_s: float, reason: str) -> None:
        if not self.ended.done():
            self._close(now_s, reason)

    def _close(self, now_s: float, trouble: str) -> None:
        self._sent.ended_s, self._sent.trouble, self._sent.done = now_s, trouble, self._reader.whole
        self.ended.set_result(None)


class Traffic:
    def __init__(self, target: Target, random: Random) -> None:
        self.target, self._random = target, random
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.sent: list[Sent] = []

    def now_s(self) -> float:
        return self._loop.time() - self._began

    async def learn(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        """The right answer to every question, while nothing is wrong."""
        learnt = await asyncio.gather(*map(self.ask, questions))
        assert all(sent.done and not sent.trouble for sent in learnt), learnt
        return {sent.question: sent.answer for sent in learnt}

    async def when_due(self, pick: Pick, per_second: float, meanwhile: asyncio.Task[Any]) -> None:
        """Asks until `meanwhile` is done, whatever became of those before. Returns when every request has ended."""
        due = self.now_s()
        async with asyncio.TaskGroup() as asked:
            while not meanwhile.done():
                due += self._random.expovariate(per_second)
                await asyncio.sleep(max(0.0, due - self.now_s()))
                asked.create_task(self._keep(pick()))

    async def always_open(
        self, pick: Pick, streams: int, meanwhile: asyncio.Task[Any], resting: asyncio.Event | None = None
    ) -> None:
        """Keeps as many open until `meanwhile` is done. Returns when every one has ended. resting: no new ones then."""
        async with asyncio.TaskGroup() as open_streams:
            for _ in range(streams):
                open_streams.create_task(self._one_after_another(pick, meanwhile, resting))

    async def _one_after_another(self, pick: Pick, meanwhile: asyncio.Task[Any], resting: asyncio.Event | None) -> None:
        while not meanwhile.done():
            if resting and resting.is_set():
                await asyncio.sleep(0.05)
            else:
                await self._keep(pick())

    async def _keep(self, question: Question) -> None:
        self.sent.append(await self.ask(question))

    async def ask(self, question: Question) -> Sent:
        sent = Sent(question, self.now_s())
        receiver = Receiver(sent)
        try:
            connection = await self.connection()
        except OSError as error:
            sent.ended_s, sent.trouble = self.now_s(), f"no connection: {error}"
            return sent
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection.send(self.target.post(question.path, question.document), receiver)
                await receiver.ended
        except TimeoutError:
            sent.ended_s, sent.trouble = self.now_s(), f"no end after {TIMEOUT_S} s"
            connection.abort()
        if connection.usable:
            self._idle.append(connection)
        return sent

    async def connection(self) -> Connection:
        """An idle one, or a new one."""
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
        _, made = await self._loop.create_connection(lambda: Connection(self.now_s), self.target.host, self.target.port)
        return made

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
