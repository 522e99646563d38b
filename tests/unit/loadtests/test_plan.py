from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from loadtests import words
from loadtests.plan import Plan, Planned
from loadtests.profile import load
from services.worker.engine.simulated.tokens import encode
from tests.unit.loadtests.samples import profile

MIXED = load(Path("loadtests/profiles/mixed.yaml"))


def talks(plan: Plan) -> list[list[Planned]]:
    ordered = sorted(plan, key=lambda planned: (planned.conversation, planned.turn))
    return [list(turns) for _, turns in groupby(ordered, key=lambda planned: planned.conversation)]


def test_the_same_seed_asks_for_the_same_things_at_the_same_times() -> None:
    assert list(Plan(MIXED)) == list(Plan(MIXED))
    other = Plan(MIXED.with_changes(rate=None, duration_s=None, seed=2))
    assert [planned.messages for planned in other] != [planned.messages for planned in Plan(MIXED)]


def test_another_rate_asks_for_the_same_things_at_other_times() -> None:
    calm, busy = (Plan(profile(arrivals={"process": "poisson", "rate": rate})) for rate in (5, 50))
    assert busy.due != calm.due
    for asked, again in zip(calm, busy, strict=False):
        assert asked.messages == again.messages


def test_every_arrival_is_one_request() -> None:
    assert [planned.due_s for planned in Plan(MIXED)] == Plan(MIXED).due


def test_turns_follow_each_other_with_time_to_think_and_all_that_was_said() -> None:
    longest = 0
    for turns in talks(Plan(MIXED)):
        longest = max(longest, len(turns))
        assert [planned.turn for planned in turns] == list(range(len(turns)))
        assert len({planned.tier for planned in turns}) == 1
        for asked, then in pairwise(turns):
            assert then.due_s - asked.due_s >= MIXED.chats.think_s
            assert then.messages[: len(asked.messages)] == asked.messages
            assert [m["role"] for m in then.messages[len(asked.messages) :]] == ["assistant", "user"]
            assert len(then.messages[-2]["content"].split()) == asked.output_tokens
    assert longest == 5


def test_tiers_and_prefixes_have_their_shares() -> None:
    firsts = [turns[0] for turns in talks(Plan(MIXED.with_changes(rate=100, duration_s=100, seed=None)))]
    count = len(firsts)
    tiers = Counter(planned.tier for planned in firsts)
    assert tiers["priority"] / count == pytest.approx(0.2, abs=0.03)
    assert tiers["flex"] / count == pytest.approx(0.3, abs=0.03)
    prefixes = Counter(p.messages[0]["content"] for p in firsts if p.messages[0]["role"] == "system")
    assert prefixes.total() / count == pytest.approx(0.7, abs=0.03)
    assert len(prefixes) == 8
    (_, most), *_, (_, least) = prefixes.most_common()
    assert most / least > 4  # a popularity of n^-1 over 8


def test_a_word_is_a_token_of_the_simulated_engine() -> None:
    assert [len(encode(f" {word}")) for word in words.WORDS] == [1] * len(words.WORDS)
    assert len(set(words.WORDS)) == len(words.WORDS)
