import pytest

from trainer.golden import MARGIN_LOGITS, MAX_PROMPT_TOKENS, GoldenReply, batches, surest

SURE, NEAR, NAN = MARGIN_LOGITS, MARGIN_LOGITS / 2, float("nan")


@pytest.mark.parametrize(
    ("leads", "run"),
    [
        ([], slice(0, 0)),
        ([NEAR], slice(0, 0)),
        ([SURE, SURE], slice(0, 2)),
        ([SURE, NEAR, SURE, SURE], slice(2, 4)),
        ([SURE, SURE, NEAR, SURE], slice(0, 2)),
        ([NAN, NAN], slice(0, 0)),
        ([SURE, NAN, SURE, SURE], slice(2, 4)),
    ],
)
def test_the_longest_run_of_sure_tokens(leads: list[float], run: slice) -> None:
    assert surest([GoldenReply(token=1, lead=lead) for lead in leads]) == run


def test_prompts_that_fit_together_are_asked_together() -> None:
    long, half, short = (1,) * MAX_PROMPT_TOKENS, (2,) * (MAX_PROMPT_TOKENS // 2), (3,) * 5
    other = (4, *half[1:])
    assert batches([long, half, other, short, short]) == [[short, half], [other], [long]]
    assert batches([half, other]) == [[half, other]]
    assert batches([]) == []
