"""Traffic made up for a scenario: conversations of several turns that tenants hold, as a pure function of the seed.

Another rate has the same kind of conversations at other times. A flood is drawn apart from all else: the other tenants
ask the same things at the same moments with it and without it.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from random import Random

from loadtests.arrivals import Arrivals, Bursty, Poisson, schedule
from loadtests.profile import Prefixes
from loadtests.simulator.ask import BLOCK_TOKENS, Ask
from loadtests.simulator.scenario import Scenario
from services.shared.classes import ServiceClass

FLOODING = "tenant-0"
"""The tenant that is noisy."""


def generate(scenario: Scenario, rate: float) -> list[Ask]:
    """The requests of a scenario in order of time. `rate`: requests a second, without those of the noisy tenant."""
    drawn = list(_stream(scenario, rate, "all", range(scenario.tenants)))
    if scenario.flood:
        extra = rate / scenario.tenants * (scenario.flood.times - 1)
        drawn += _stream(scenario, extra, "flood", range(1))
    drawn.sort(key=lambda turn: turn.due_s)
    return [turn.ask(index) for index, turn in enumerate(drawn)]


@dataclass(frozen=True, slots=True)
class _Turn:
    due_s: float
    talk: "_Talk"
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[bytes, ...]

    def ask(self, index: int) -> Ask:
        return Ask(
            index=index,
            due_ms=1000 * self.due_s,
            service_class=self.talk.service_class,
            tenant=self.talk.tenant,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            blocks=self.blocks,
        )


class _Talk:
    """A conversation so far. Tenants share no cache, so every chain of hashes begins with the tenant's name."""

    def __init__(self, name: str, tenant: str, service_class: ServiceClass, turns: int) -> None:
        self.name, self.tenant, self.service_class, self.turns = name, tenant, service_class, turns
        self.turn = 0
        self.tokens = 0
        self._chain: list[bytes] = []

    def add(self, part: str, tokens: int) -> None:
        """The hash of a block is made of the hash before it and of the part that its last token belongs to."""
        self.tokens += tokens
        while (len(self._chain) + 1) * BLOCK_TOKENS <= self.tokens:
            parent = self._chain[-1] if self._chain else self.tenant.encode()
            self._chain.append(blake2b(parent + part.encode(), digest_size=8).digest())

    @property
    def blocks(self) -> tuple[bytes, ...]:
        return tuple(self._chain)


class _Talks:
    """Gives each arrival to the conversation that has waited longest for its next turn, or to a new one."""

    def __init__(self, scenario: Scenario, purpose: str, tenants: range) -> None:
        self._scenario, self._purpose, self._tenants = scenario, purpose, tenants
        self._random = _drawing(scenario.seed, f"{purpose} contents")
        self._classes = [ServiceClass.of_label(label) for label in scenario.classes]
        self._weights = list(accumulate(traffic.weight for traffic in scenario.classes.values()))
        self._prefixes = _Prefixes(scenario.prefixes, scenario.seed) if scenario.prefixes else None
        self._thinking: list[tuple[float, int, _Talk]] = []
        self._begun = 0

    def next(self, due_s: float) -> _Turn:
        prompt = self._scenario.prompt_tokens.draw(self._random)
        output = self._scenario.output_tokens.draw(self._random)
        room = self._scenario.engine.context_tokens - prompt - output
        talk = self._continued(due_s, room) or self._begin()
        talk.add(f"{talk.name} user {talk.turn}", prompt)
        asked = talk.tokens
        talk.add(f"{talk.name} answer {talk.turn}", output)
        talk.turn += 1
        if talk.turn < talk.turns:
            heapq.heappush(self._thinking, (due_s + self._scenario.chats.think_s, self._begun, talk))
            self._begun += 1
        return _Turn(due_s, talk, asked, output, talk.blocks)

    def _continued(self, due_s: float, room: int) -> _Talk | None:
        """A conversation that has outgrown the context has ended."""
        while self._thinking and self._thinking[0][0] <= due_s:
            talk = heapq.heappop(self._thinking)[2]
            if talk.tokens <= room:
                return talk
        return None

    def _begin(self) -> _Talk:
        tenant = f"tenant-{self._random.choice(self._tenants)}"
        service_class = self._random.choices(self._classes, cum_weights=self._weights)[0]
        turns = self._scenario.chats.turns.draw(self._random)
        talk = _Talk(f"{self._purpose} {self._begun}", tenant, service_class, turns)
        self._begun += 1
        if self._prefixes:
            talk.add(*self._prefixes.draw(self._random))
        return talk


class _Prefixes:
    """System prompts. The length of each depends on the seed and its number alone."""

    def __init__(self, prefixes: Prefixes, seed: int) -> None:
        self._share = prefixes.share
        self._tokens = [prefixes.tokens.draw(_drawing(seed, f"prefix {n}")) for n in range(prefixes.count)]
        self._weights = list(accumulate((n + 1) ** -prefixes.zipf for n in range(prefixes.count)))

    def draw(self, random: Random) -> tuple[str, int]:
        """Name and tokens; none of them for a conversation that shares nothing."""
        if random.random() >= self._share:
            return "", 0
        number = random.choices(range(len(self._tokens)), cum_weights=self._weights)[0]
        return f"system {number}", self._tokens[number]


def _stream(scenario: Scenario, rate: float, purpose: str, tenants: range) -> Iterator[_Turn]:
    talks = _Talks(scenario, purpose, tenants)
    due = schedule(_arrivals(scenario, rate), scenario.duration_s, _drawing(scenario.seed, f"{purpose} arrivals"))
    return map(talks.next, due)


def _arrivals(scenario: Scenario, rate: float) -> Arrivals:
    if scenario.arrivals == "poisson":
        return Poisson(rate=rate)
    return Bursty(rate=rate, burstiness=scenario.burstiness)


def _drawing(seed: int, purpose: str) -> Random:
    """Random numbers for one purpose do not depend on how many are drawn for others."""
    return Random(f"{seed}/{purpose}")  # noqa: S311
