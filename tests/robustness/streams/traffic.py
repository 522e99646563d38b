"""Streams that are always open: as many as asked for, each followed by the next."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from loadtests.connection import Connection
from loadtests.sse import EventStream
from loadtests.target import Target
from tests.robustness.streams.questions import Question

TIMEOUT_S = 60.0


@dataclass(slots=True)
class Read:
    """What the events of a stream came to."""

    text: defaultdict[int, str] = field(default_factory=lambda: defaultdict(str))
    logprobs: defaultdict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    endings: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        self.usage = event.get("usage") or self.usage
        for choice in event["choices"]:
            index = choice["index"]
            self.text[index] += choice.get("text") or choice.get("delta", {}).get("content") or ""
            self.logprobs[index] += (choice.get("logprobs") or {}).get("content") or ()
            if choice.get("finish_reason"):
                assert index not in self.endings
                self.endings[index] = choice["finish_reason"]

    @property
    def completion_tokens(self) -> int:
        return int(self.usage.get("completion_tokens", 0))


@dataclass(slots=True)
class Sent:
    """One stream and all that came of it. Times in seconds of the drill; status 0: no answer."""

    question: Question
    sent_s: float
    status: int = 0
    arrivals_s: list[float] = field(default_factory=list)
    read: Read = field(default_factory=Read)
    done: bool = False
    trouble: str = ""


class Receiver:
    """One stream while it arrives."""

    def __init__(self, sent: Sent) -> None:
        self._sent, self._events = sent, EventStream()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._sent.status = status

    def body(self, data: bytes, now_s: float) -> None:
        if self._sent.status != 200:
            self._sent.trouble += data.decode()
            return
        self._sent.arrivals_s.append(now_s)
        for event in self._events.feed(data):
            self._event(event)

    def _event(self, event: bytes) -> None:
        if event == b"[DONE]":
            self._sent.done = True
        elif "error" in (document := orjson.loads(event)):
            self._sent.trouble = document["error"]["message"]
        else:
            self._sent.read.take(document)

    def end(self, now_s: float) -> None:
        self.ended.set_result(None)

    def lost(self, now_s: float, reason: str) -> None:
        if not self.ended.done():
            self._sent.trouble = reason
            self.ended.set_result(None)


class Traffic:
    def __init__(self, target: Target, questions: list[Question], random: Random) -> None:
        self._target, self._questions, self._random = target, questions, random
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._over = False
        self.sent: list[Sent] = []

    def now_s(self) -> float:
        return self._loop.time() - self._began

    async def learn(self) -> dict[Question, Read]:
        """The right answer to every question, while nothing is wrong."""
        learnt = await asyncio.gather(*map(self.ask, self._questions))
        assert all(sent.done and not sent.trouble for sent in learnt), learnt
        return {sent.question: sent.read for sent in learnt}

    async def run(self, streams: int) -> None:
        """Keeps as many streams open until `finish`; returns when every one has ended."""
        async with asyncio.TaskGroup() as open_streams:
            for _ in range(streams):
                open_streams.create_task(self._keep_asking())

    def finish(self) -> None:
        self._over = True

    async def _keep_asking(self) -> None:
        while not self._over:
            self.sent.append(await self.ask(self._random.choice(self._questions)))

    async def ask(self, question: Question) -> Sent:
        _, connection = await self._loop.create_connection(
            lambda: Connection(self.now_s), self._target.host, self._target.port
        )
        sent = Sent(question, self.now_s())
        receiver = Receiver(sent)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection.send(self._target.post(question.path, question.document), receiver)
                await receiver.ended
        except TimeoutError:
            sent.trouble = f"no end after {TIMEOUT_S} s"
        finally:
            connection.abort()
        return sent
