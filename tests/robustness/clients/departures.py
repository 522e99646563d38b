"""Clients that leave in the middle, streamed or not: their slots must be free within a second."""

import asyncio
from dataclasses import dataclass
from random import Random

from tests.robustness.arena import Arena
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.times import Times
from tests.robustness.traffic import Receiver, Sent, Traffic

AT_ONCE = 50
"""More than there are slots, so that some leave while they wait."""
LONGEST_STAY_S = 1.5
FREE_WITHIN_S = 1.0
PATIENCE_S = 10.0
TOKENS = 4000


@dataclass(frozen=True, slots=True)
class Departures:
    """freed: from the last departure of a round until nothing of it is left anywhere."""

    clients: int
    begun: int
    freed: Times
    left: list[str]
    """What is wrong on any machine."""

    @property
    def complaints(self) -> list[str]:
        return self.left + [
            f"a slot was free after {took:.2f} s only" for took in self.freed.all_s if took > FREE_WITHIN_S
        ]

    def __str__(self) -> str:
        figures = f"{self.clients} clients left, {self.begun} of them after the first byte; slots were free after"
        return f"{figures} {self.freed}; {len(self.complaints)} complaints" + "".join(
            f"\n  {complaint}" for complaint in self.complaints
        )


async def departures(arena: Arena, *, clients: int, seed: int) -> Departures:
    random = Random(seed)
    traffic = Traffic(arena.view.target, random)
    sent: list[Sent] = []
    freed: list[float] = []
    left: list[str] = []
    while len(sent) < clients:
        sent += await asyncio.gather(
            *(_stay_a_while(traffic, _question(random), random.uniform(0, LONGEST_STAY_S)) for _ in range(AT_ONCE))
        )
        gone_s = traffic.now_s()
        left += [f"left behind: {what}" for what in sorted(await leftovers(arena.view, PATIENCE_S))]
        freed.append(traffic.now_s() - gone_s)
    left += [f"{one.status}: {one.trouble}" for one in sent if one.status not in (0, 200)]
    return Departures(len(sent), sum(bool(one.arrivals_s) for one in sent), Times.of(freed), left)


def _question(random: Random) -> Question:
    text = f"Where does tide number {random.randrange(10_000)} go?"
    return chat(text, max_tokens=TOKENS, ignore_eos=True, stream=random.random() < 0.5)


async def _stay_a_while(traffic: Traffic, question: Question, stay_s: float) -> Sent:
    sent = Sent(question, traffic.now_s())
    connection = await traffic.connection()
    connection.send(traffic.target.post(question.path, question.document), Receiver(sent))
    await asyncio.sleep(stay_s)
    connection.abort()
    return sent
