"""Open-loop traffic: requests come when they are due, whatever became of those before them."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from loadtests.connection import Connection
from loadtests.target import CHAT, Target

MODEL = "tide"
TIMEOUT_S = 40.0
LENGTHS = (1, 4, 8, 16)
QUESTIONS = tuple(f"Where does tide number {n} go?" for n in range(8))
TIERS = ("priority", "default", "default", "default", "default", "flex")


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    tokens: int

    def document(self, tier: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.text}]
        settings = {"max_tokens": self.tokens, "ignore_eos": True, "service_tier": tier}
        return {"model": MODEL, "messages": messages, **settings}


@dataclass(slots=True)
class Sent:
    """One request and all that came back. Times in seconds of the drill; status 0: no answer."""

    question: Question
    tier: str
    sent_s: float
    ended_s: float = 0.0
    status: int = 0
    retry_after: bool = False
    answer: str = ""
    trouble: str = ""


class Receiver:
    """One answer while it arrives."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._body = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._sent.status = status
        self._sent.retry_after = b"retry-after" in headers

    def body(self, data: bytes, now_s: float) -> None:
        self._body += data

    def end(self, now_s: float) -> None:
        self._sent.ended_s = now_s
        document = orjson.loads(self._body)
        if self._sent.status == 200:
            self._sent.answer = document["choices"][0]["message"]["content"]
        else:
            self._sent.trouble = document["error"]["message"]
        self.ended.set_result(None)

    def lost(self, now_s: float, reason: str) -> None:
        if not self.ended.done():
            self._sent.ended_s, self._sent.trouble = now_s, reason
            self.ended.set_result(None)


class Traffic:
    def __init__(self, target: Target, random: Random) -> None:
        self._target, self._random = target, random
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.sent: list[Sent] = []

    def now_s(self) -> float:
        return self._loop.time() - self._began

    async def learn(self) -> dict[Question, str]:
        """The right answer to every question, asked in quiet."""
        answers = {}
        for question in (Question(text, tokens) for text in QUESTIONS for tokens in LENGTHS):
            sent = await self.ask(question, "default")
            assert sent.status == 200, sent
            answers[question] = sent.answer
        return answers

    async def run(self, meanwhile: asyncio.Task[Any], per_second: float) -> None:
        """Asks until `meanwhile` is done. Returns when every request has ended, one way or another."""
        due = self.now_s()
        async with asyncio.TaskGroup() as asked:
            while not meanwhile.done():
                due += self._random.expovariate(per_second)
                await asyncio.sleep(max(0.0, due - self.now_s()))
                question = Question(self._random.choice(QUESTIONS), self._random.choice(LENGTHS))
                asked.create_task(self._keep(question, self._random.choice(TIERS)))

    async def _keep(self, question: Question, tier: str) -> None:
        self.sent.append(await self.ask(question, tier))

    async def ask(self, question: Question, tier: str) -> Sent:
        sent = Sent(question, tier, self.now_s())
        connection = await self._connection()
        receiver = Receiver(sent)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection.send(self._target.post(CHAT, question.document(tier)), receiver)
                await receiver.ended
        except TimeoutError:
            sent.ended_s, sent.trouble = self.now_s(), f"no end after {TIMEOUT_S} s"
            connection.abort()
        if connection.usable:
            self._idle.append(connection)
        return sent

    async def _connection(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).usable:
                return connection
        _, made = await self._loop.create_connection(
            lambda: Connection(self.now_s), self._target.host, self._target.port
        )
        return made

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
