"""The simulated tokenizer and the token that follows a prompt."""

from dataclasses import replace

import pytest

from services.worker.engine.contract import Sampling
from services.worker.engine.simulated.tokens import END, VOCABULARY, Oracle, decode, encode

ORACLE = Oracle("a" * 64, (1, 2, 3), Sampling(seed=1), 0)


@pytest.mark.parametrize("text", ["", " badi lore", "What is Paris?\n", "tide — Ebbe 🌊", " badibadi  x"])
def test_every_text_survives(text: str) -> None:
    assert decode(encode(text)) == text


def test_words_are_one_token_each() -> None:
    answer = [ORACLE.token(index) for index in range(8)]
    assert encode(decode(answer)) == answer
    assert all(END < token < VOCABULARY for token in answer)


def test_tokens_are_a_pure_function() -> None:
    again = Oracle("a" * 64, (1, 2, 3), Sampling(seed=1), 0)
    assert [ORACLE.token(i) for i in range(50)] == [again.token(i) for i in reversed(range(50))][::-1]


@pytest.mark.parametrize(
    "other",
    [
        replace(ORACLE, weights_sha256="b" * 64),
        replace(ORACLE, prompt=(1, 2)),
        replace(ORACLE, sampling=Sampling(seed=2)),
        replace(ORACLE, sampling=Sampling(seed=1, temperature=0.5)),
        replace(ORACLE, choice=1),
    ],
    ids=["weights", "prompt", "seed", "temperature", "choice"],
)
def test_each_ingredient_changes_the_answer(other: Oracle) -> None:
    assert [other.token(i) for i in range(16)] != [ORACLE.token(i) for i in range(16)]


def test_limits_cut_the_same_answer() -> None:
    cut = replace(ORACLE, sampling=Sampling(seed=1, max_tokens=5, stop=("x",), n=3))
    assert [cut.token(i) for i in range(16)] == [ORACLE.token(i) for i in range(16)]


def test_every_answer_ends_by_itself_unless_told_to_ignore_the_end() -> None:
    endless = replace(ORACLE, sampling=Sampling(seed=1, ignore_eos=True))
    late = replace(ORACLE, sampling=Sampling(seed=1, min_tokens=400))
    assert END in [ORACLE.token(i) for i in range(256)]
    assert END not in [endless.token(i) for i in range(600)]
    assert [late.token(i) for i in range(401)].index(END) == 400


def test_the_chosen_token_is_the_likeliest() -> None:
    oracle = replace(ORACLE, sampling=Sampling(top_logprobs=3))
    entry = oracle.logprob(0)
    assert entry.token_id == oracle.token(0) == entry.top[0].token_id
    assert [top.logprob for top in entry.top] == sorted((top.logprob for top in entry.top), reverse=True)
    assert len(entry.top) == 3
