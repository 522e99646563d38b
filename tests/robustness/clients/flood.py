"""Ten times as many requests as can be served: refusals are quick and say when to come again, priority is served."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.robustness.answer import Answer, difference
from tests.robustness.arena import Arena
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.times import Times
from tests.robustness.traffic import Sent, Traffic

TIERS = {"priority": 4, "default": 66, "flex": 30}
"""Of a hundred requests; the first are well within what can be served."""
PROMPTS = 8
TOKENS = 20
REFUSED_WITHIN_S = 0.05
SERVED = 0.999


@dataclass(frozen=True, slots=True)
class Flood:
    """refused: how long those took that were refused at once; the others had waited in the queue."""

    asked: Counter[str]
    answered: Counter[str]
    refused: Times
    priority: Times
    wrong: list[str]
    """What is wrong on any machine."""

    @property
    def complaints(self) -> list[str]:
        slow = [f"99 of 100 refusals took {self.refused.at(0.99):.3f} s"]
        few = [f"only {self.answered['priority']} of {self.asked['priority']} priority requests were answered"]
        return [
            *self.wrong,
            *(slow if self.refused.at(0.99) > REFUSED_WITHIN_S else []),
            *(few if self.answered["priority"] < SERVED * self.asked["priority"] else []),
            *([] if self.refused.all_s else ["nothing was refused: this was no flood"]),
        ]

    def __str__(self) -> str:
        tiers = ", ".join(f"{self.answered[tier]} of {asked} {tier}" for tier, asked in self.asked.items())
        times = f"refusals took {self.refused}, priority answers {self.priority}"
        return f"answered {tiers}; {times}; {len(self.complaints)} complaints" + "".join(
            f"\n  {complaint}" for complaint in self.complaints[:12]
        )


def _questions(tier: str) -> list[Question]:
    return [
        chat(f"Where does tide number {n} go?", max_tokens=TOKENS, ignore_eos=True, service_tier=tier)
        for n in range(PROMPTS)
    ]


async def flood(arena: Arena, *, per_second: float, lasts_s: float, seed: int) -> Flood:
    random = Random(seed)
    questions = {tier: _questions(tier) for tier in TIERS}
    tiers = {question: tier for tier, asked in questions.items() for question in asked}

    def pick() -> Question:
        return random.choice(questions[random.choices(list(TIERS), list(TIERS.values()))[0]])

    traffic = Traffic(arena.view.target, random)
    try:
        right = await traffic.learn(tiers)
        await traffic.when_due(pick, per_second, asyncio.create_task(asyncio.sleep(lasts_s)))
    finally:
        traffic.close()
    wrong = [complaint for sent in traffic.sent if (complaint := _complaint(sent, right))]
    wrong += [f"left behind: {what}" for what in sorted(await leftovers(arena.view))]
    return _judge(traffic.sent, tiers, wrong)


def _judge(all_sent: list[Sent], tiers: dict[Question, str], wrong: list[str]) -> Flood:
    asked = Counter(tiers[sent.question] for sent in all_sent)
    answered = Counter(tiers[sent.question] for sent in all_sent if sent.done)
    refused = Times.of(sent.took_s for sent in all_sent if sent.refused)
    priority = Times.of(sent.took_s for sent in all_sent if sent.done and tiers[sent.question] == "priority")
    return Flood(asked, answered, refused, priority, wrong)


def _complaint(sent: Sent, right: dict[Question, Answer]) -> str | None:
    if sent.done:
        return difference(sent.answer, right[sent.question])
    return None if sent.refused else f"{sent.status or 'no answer'}: {sent.trouble}, retry-after {sent.retry_after}"
