"""How the drill judges a long answer. Short rollouts under such answers: tests/integration/cluster/test_swaps.py."""

import pytest

from tests.robustness.swaps.answer import LongAnswer, Piece, taken, words

TOKENS = 40
WEIGHTS = {"fp_old": "0" * 64, "fp_new": "1" * 64}
QUESTION = "Where does the tide go?"
OLD, NEW = (words(weights, QUESTION, TOKENS) for weights in WEIGHTS.values())


def answer(*pieces: tuple[str, str]) -> LongAnswer:
    return LongAnswer(QUESTION, [Piece(*piece) for piece in pieces])


def test_an_answer_may_cross_between_any_two_tokens() -> None:
    for at in range(1, TOKENS):
        said = answer(("fp_old", "".join(OLD[:at])), ("fp_new", "".join(NEW[at:])))
        assert not said.wrong(WEIGHTS, TOKENS)
    assert not answer(("fp_old", "".join(OLD))).wrong(WEIGHTS, TOKENS)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([("fp_old", "".join(NEW[:9]))], "piece 0 of fp_old is not what that version says"),
        ([("fp_old", "".join(OLD[:9])), ("fp_new", "".join(NEW[8:]))], "piece 1 of fp_new is not"),
        ([("fp_old", "".join(OLD[:9])), ("fp_new", "".join(NEW[10:]))], "piece 1 of fp_new is not"),
        ([("fp_none", "".join(OLD[:9]))], "unknown version fp_none"),
    ],
    ids=["another version's words", "a token twice", "a token lost", "unknown"],
)
def test_what_is_wrong_is_told(pieces: list[tuple[str, str]], why: str) -> None:
    assert why in answer(*pieces).wrong(WEIGHTS, TOKENS)


def test_an_error_is_wrong() -> None:
    said = answer(("fp_old", "".join(OLD[:9])))
    said.take({"error": {"message": "no"}})
    assert "no" in said.wrong(WEIGHTS, TOKENS)


def test_part_of_a_token_is_none() -> None:
    assert taken(["ab", "cd"], "abc") is None
    assert taken(["ab", "cd"], "abcdef") is None
    assert (taken(["ab", "cd"], "ab"), taken(["ab", "cd"], "abcd"), taken(["ab"], "")) == (1, 2, 0)
