"""What thresholds make of figures."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from trainer.evaluation.decision import decide
from trainer.evaluation.figures import Figure
from trainer.evaluation_plan import Evaluation, Threshold


def figures(acc: float, perplexity: float = 10.0) -> dict[str, Figure]:
    return {
        "arc/acc": Figure(value=acc, higher_is_better=True, documents=10),
        "text/byte_perplexity": Figure(value=perplexity, higher_is_better=False, documents=1),
    }


@pytest.mark.parametrize(
    ("bound", "way", "reason"),
    [
        ({"metric": "arc/acc", "min": 0.5}, "publish", None),
        ({"metric": "arc/acc", "min": 0.51}, "refuse", r"arc/acc is 0\.5, and min = 0\.51"),
        ({"metric": "arc/acc", "min": 0.6, "otherwise": "canary"}, "canary", r"\(canary\)"),
        ({"metric": "text/byte_perplexity", "max": 9}, "refuse", "max = 9"),
        ({"metric": "arc/acc", "worse_than_parent": 0.1}, "publish", None),
        ({"metric": "arc/acc", "worse_than_parent": 0.0}, "refuse", r"that of its base is 0\.55"),
        ({"metric": "arc/acc", "worse_than_live": 0.2}, "refuse", r"that of the live version is 0\.8"),
        # Lower is better: 10 beside 12 is an improvement, by less than 3.
        ({"metric": "text/byte_perplexity", "worse_than_parent": 0}, "publish", None),
        ({"metric": "text/byte_perplexity", "worse_than_parent": -3}, "refuse", "worse_than_parent = -3"),
        ({"metric": "arc/f1", "min": 0}, "refuse", "arc/f1 was not measured"),
    ],
)
def test_a_bound(bound: dict[str, Any], way: str, reason: str | None) -> None:
    decision = decide([Threshold(**bound)], figures(0.5), figures(0.55, 12.0), figures(0.8))
    assert decision.way == way
    assert bool(decision.reasons) == (reason is not None)
    assert reason is None or re.search(reason, decision.reasons[0])


def test_the_hardest_of_several_counts() -> None:
    bounds = [
        Threshold(metric="arc/acc", min=0.9, otherwise="canary"),
        Threshold(metric="arc/acc", min=0.6),
        Threshold(metric="arc/acc", min=0.9, otherwise="canary"),
    ]
    decision = decide(bounds, figures(0.5), None, None)
    assert (decision.way, len(decision.reasons)) == ("refuse", 3)


def test_what_has_nothing_to_compare_with_is_told_and_passes() -> None:
    bounds = [Threshold(metric="arc/acc", worse_than_parent=0), Threshold(metric="arc/acc", worse_than_live=0)]
    decision = decide(bounds, figures(0.5), None, None)
    assert decision.way == "publish"
    assert ["not judged" in reason for reason in decision.reasons] == [True, True]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"tasks": []}, "nothing would be measured"),
        ({"tasks": ["arc_easy", "arc_easy"]}, "arc_easy is there twice"),
        ({"tasks": ["../x"]}, "pattern"),
        ({"thresholds": [{"metric": "arc_easy/acc"}]}, "needs min, max"),
        ({"thresholds": [{"metric": "arc_easy/acc", "min": 1, "max": 0}]}, "no value fits"),
    ],
)
def test_a_plan_that_cannot_be_meant(document: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Evaluation.model_validate(document)
