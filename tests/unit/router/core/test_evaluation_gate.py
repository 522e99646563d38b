"""Which versions are rolled out, by the evaluation in their manifest."""

import pytest

from services.router.core.evaluation_gate import Evaluated, refusal
from services.shared.gates import EvaluationBound, Gates

DEFAULT = Gates().evaluation


@pytest.mark.parametrize(
    ("measured", "refused"),
    [
        (Evaluated(2.0, 2.0), False),
        (Evaluated(2.09, 2.0), False),
        (Evaluated(2.11, 2.0), True),
        (Evaluated(9.0), False),
    ],
)
def test_the_held_out_loss_may_rise_a_little_and_has_a_bound_without_a_setting(
    measured: Evaluated, refused: bool
) -> None:
    reason = refusal({"held_out_loss": measured}, DEFAULT)
    assert bool(reason) == refused
    if reason:
        assert reason.startswith("held_out_loss of the version is 2.11, and 2 of the version it was trained from: ")
        assert "worse by more than 5%" in reason


def test_higher_may_be_better_also_below_zero() -> None:
    bounds = {"score": EvaluationBound(better="higher", worse_by=0.1)}
    assert refusal({"score": Evaluated(0.44, 0.5)}, bounds)
    assert not refusal({"score": Evaluated(0.46, 0.5)}, bounds)
    assert refusal({"score": Evaluated(-1.2, -1.0)}, bounds)
    assert not refusal({"score": Evaluated(-0.5, -1.0)}, bounds)


def test_a_value_may_be_required_and_a_bound_may_be_off() -> None:
    bounds = Gates.model_validate({"evaluation": {"accuracy": {"better": "higher", "required": True}}}).evaluation
    assert set(bounds) == {"held_out_loss", "accuracy"}
    assert "has no accuracy beside" in (refusal({"accuracy": Evaluated(0.9)}, bounds) or "")
    off = Gates.model_validate({"evaluation": {"held_out_loss": None}}).evaluation
    assert refusal({"held_out_loss": Evaluated(9.0, 1.0)}, off) is None


def test_without_an_evaluation_a_version_is_rolled_out() -> None:
    assert refusal({}, DEFAULT) is None
