"""How much of a prompt is kept, and how long an answer may be."""

import pytest

from services.worker.engine.bounds import token_limit, truncated
from services.worker.engine.contract import ContextTooLong, InvalidPrompt, Sampling

CONTEXT = 10
PROMPT = tuple(range(20))


@pytest.mark.parametrize(
    ("max_tokens", "prompt", "limit"),
    [(None, 4, 6), (6, 4, 6), (0, 10, 0), (0, 4, 0), (1, 9, 1), (None, 9, 1)],
)
def test_an_answer_has_the_room_that_the_prompt_leaves(max_tokens: int | None, prompt: int, limit: int) -> None:
    assert token_limit(Sampling(max_tokens=max_tokens), prompt, CONTEXT) == limit


@pytest.mark.parametrize(("max_tokens", "prompt"), [(None, 10), (7, 4), (0, 11), (1, 10)])
def test_what_does_not_fit_is_refused(max_tokens: int | None, prompt: int) -> None:
    with pytest.raises(ContextTooLong):
        token_limit(Sampling(max_tokens=max_tokens), prompt, CONTEXT)


def test_a_limit_may_shrink_but_not_to_nothing() -> None:
    shrinks = Sampling(max_tokens=100, max_tokens_may_shrink=True)
    assert token_limit(shrinks, 4, CONTEXT) == 6
    with pytest.raises(ContextTooLong, match=r"has 10 tokens of prompt\.$"):
        token_limit(shrinks, 10, CONTEXT)
    # What may shrink still has the least that was asked for.
    with pytest.raises(InvalidPrompt, match="min_tokens must be at most 6"):
        token_limit(Sampling(max_tokens=8, min_tokens=8, max_tokens_may_shrink=True), 4, CONTEXT)


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(), PROMPT),
        (Sampling(truncate_prompt_tokens=3), (17, 18, 19)),
        (Sampling(truncate_prompt_tokens=3, keep_prompt_start=True), (0, 1, 2)),
        (Sampling(truncate_prompt_tokens=-1), PROMPT[-9:]),
        (Sampling(truncate_prompt_tokens=-1, max_tokens=4), PROMPT[-6:]),
        (Sampling(truncate_prompt_tokens=-1, max_tokens=0), PROMPT[-10:]),
        (Sampling(truncate_prompt_tokens=-1, max_tokens=50), PROMPT[-1:]),
    ],
)
def test_a_prompt_is_truncated(sampling: Sampling, kept: tuple[int, ...]) -> None:
    assert truncated(PROMPT, sampling, CONTEXT) == kept


def test_a_short_prompt_is_kept_whole_and_more_than_the_context_is_refused() -> None:
    assert truncated((1, 2), Sampling(truncate_prompt_tokens=3), CONTEXT) == (1, 2)
    with pytest.raises(InvalidPrompt) as refused:
        truncated(PROMPT, Sampling(truncate_prompt_tokens=11), CONTEXT)
    assert refused.value.param == "truncate_prompt_tokens"
