"""What the drill finds wrong. `python -m tests.robustness.quantized` runs it; that takes several minutes."""

from dataclasses import replace

import pytest

from tests.robustness.quantized.drill import BOUND, Answered, Seen, wrong
from trainer.sources.packaged import ANSWER

GOOD = Seen(
    loss_before=3.0,
    loss=3.02,
    answers=[Answered(ANSWER, "old"), Answered(ANSWER, "new"), Answered(ANSWER, "old")],
    versions=["old", "new"],
    golden=8,
)


def test_a_good_run_has_nothing_wrong() -> None:
    assert list(wrong(GOOD)) == []


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (replace(GOOD, loss=3.0 * (1.01 + BOUND)), "the loss is"),
        (replace(GOOD, loss=float("nan")), "the loss is"),
        (replace(GOOD, answers=[GOOD.answers[0], Answered("", "new"), GOOD.answers[2]]), "after the rollout: "),
        (replace(GOOD, answers=[*GOOD.answers[:2], Answered(ANSWER, "new")]), "after going back: "),
        (replace(GOOD, golden=0), "the first version has no golden prompts"),
    ],
)
def test_each_fault_is_told(bad: Seen, told: str) -> None:
    (found,) = wrong(bad)
    assert found.startswith(told)
