"""What the gate lets pass."""

import pytest

from services.shared.manifests import Measured
from trainer.gate import Worse, check
from trainer.recipe import Gate


@pytest.mark.parametrize(
    ("gate", "value", "passes"),
    [
        ({}, 2.9, True),
        ({}, 2.96, True),
        ({}, 8.67, False),
        ({"max_loss_increase": 0.1}, 3.0, True),
        ({"max_loss_increase": 0.1}, 3.1, False),
        ({"max_loss_increase": -0.5}, 2.5, False),
        ({"max_loss_increase": -0.5}, 2.4, True),
        ({"publish_worse": True}, 8.67, True),
    ],
)
def test_a_loss_passes_as_far_as_the_recipe_says(gate: dict[str, object], value: float, passes: bool) -> None:
    loss = Measured(value=value, parent=2.96)
    if passes:
        check(Gate.model_validate(gate), loss, "tiny@1")
    else:
        with pytest.raises(Worse, match=rf"held-out loss is {value}.* of its base tiny@1 is 2\.96"):
            check(Gate.model_validate(gate), loss, "tiny@1")
