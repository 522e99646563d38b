"""Which requests are sent, and when: a pure function of profile and seed."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from loadtests import words
from loadtests.arrivals import schedule
from loadtests.profile import Prefixes, Profile, Tier, TierName

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Planned:
    """One request. `due_s` is in seconds from the start; `turn` counts from 0 within the conversation."""

    index: int
    due_s: float
    tier: TierName
    conversation: int
    turn: int
    messages: tuple[Message, ...]
    output_tokens: int
    streamed: bool


@dataclass(slots=True)
class _Conversation:
    number: int
    tier: TierName
    turns: int
    messages: list[Message]
    turn: int = 0


@dataclass(slots=True)
class Plan:
    """All requests of a run, in the order of their due times.

    Arrival times and contents are drawn independently. With conversations of one turn, another rate sends the same
    requests at other times. Requests are made while they are iterated over; only the due times are held for all.
    """

    profile: Profile
    due: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.due = schedule(self.profile.arrivals, self.profile.duration_s, _drawing(self.profile.seed, "arrivals"))

    def __iter__(self) -> Iterator[Planned]:
        conversations = _Conversations(self.profile, _drawing(self.profile.seed, "contents"))
        return (conversations.next(index, due_s) for index, due_s in enumerate(self.due))


class _Conversations:
    """Gives each arrival to the conversation that has waited longest for its next turn, or to a new one."""

    def __init__(self, profile: Profile, random: Random) -> None:
        self._profile, self._random = profile, random
        self._tiers = list(profile.tiers)
        self._weights = list(accumulate(tier.weight for tier in profile.tiers.values()))
        self._prefixes = _Shared(profile.prefixes, profile.seed) if profile.prefixes else None
        self._waiting: list[tuple[float, int, _Conversation]] = []
        self._begun = 0

    def next(self, index: int, due_s: float) -> Planned:
        conversation = self._continued(due_s) or self._begin()
        tier = self._profile.tiers[conversation.tier]
        conversation.messages.append({"role": "user", "content": self._prompt(tier)})
        planned = Planned(
            index=index,
            due_s=due_s,
            tier=conversation.tier,
            conversation=conversation.number,
            turn=conversation.turn,
            messages=tuple(conversation.messages),
            output_tokens=(tier.output_tokens or self._profile.output_tokens).draw(self._random),
            streamed=self._random.random() < self._profile.streamed,
        )
        self._answered(conversation, planned)
        return planned

    def _continued(self, due_s: float) -> _Conversation | None:
        if self._waiting and self._waiting[0][0] <= due_s:
            return heapq.heappop(self._waiting)[2]
        return None

    def _begin(self) -> _Conversation:
        tier = self._random.choices(self._tiers, cum_weights=self._weights)[0]
        conversation = _Conversation(self._begun, tier, self._profile.chats.turns.draw(self._random), [])
        if self._prefixes and (prefix := self._prefixes.draw(self._random)):
            conversation.messages.append({"role": "system", "content": prefix})
        self._begun += 1
        return conversation

    def _prompt(self, tier: Tier) -> str:
        return words.text((tier.prompt_tokens or self._profile.prompt_tokens).draw(self._random), self._random)

    def _answered(self, conversation: _Conversation, planned: Planned) -> None:
        conversation.turn += 1
        if conversation.turn < conversation.turns:
            conversation.messages.append(
                {"role": "assistant", "content": words.text(planned.output_tokens, self._random)}
            )
            ready_s = planned.due_s + self._profile.chats.think_s
            heapq.heappush(self._waiting, (ready_s, conversation.number, conversation))


class _Shared:
    """The text of a prefix depends only on the seed and its number."""

    def __init__(self, prefixes: Prefixes, seed: int) -> None:
        self._prefixes, self._seed = prefixes, seed
        self._weights = list(accumulate((n + 1) ** -prefixes.zipf for n in range(prefixes.count)))

    def draw(self, random: Random) -> str | None:
        """None for a conversation that shares nothing."""
        if random.random() >= self._prefixes.share:
            return None
        number = random.choices(range(self._prefixes.count), cum_weights=self._weights)[0]
        own = _drawing(self._seed, f"prefix {number}")
        return words.text(self._prefixes.tokens.draw(own), own)


def _drawing(seed: int, purpose: str) -> Random:
    """A random source for one purpose. It does not depend on how much is drawn for other purposes."""
    return Random(f"{seed}/{purpose}")  # noqa: S311
