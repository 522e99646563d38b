"""What is a spike, and what is usual."""

from random import Random
from typing import Any

import pytest

from trainer.learning_recipe import Spikes
from trainer.spikes import LEAST_STEPS, Spike, SpikeWatch, judge

NOISY = [1 + 0.2 * Random(number).gauss(0, 1) for number in range(100)]


@pytest.mark.parametrize(
    ("value", "before", "spike"),
    [
        (float("nan"), [], True),
        (float("inf"), NOISY, True),
        (9.0, NOISY, True),
        (2.0, NOISY, False),
        (0.0, NOISY, False),
        (9.0, NOISY[: LEAST_STEPS - 1], False),
        (1.5, [1.0] * 50, False),
        (3.5, [1.0] * 50, True),
        (0.9, [0.001] * 50, False),
        (9.0, [*NOISY[:30], *[8.0] * 30], False),
    ],
    ids=[
        "nan",
        "inf",
        "far above",
        "above",
        "below",
        "too early",
        "flat, near",
        "flat, far",
        "near zero",
        "a new level",
    ],
)
def test_a_spike_is_no_number_or_far_above_what_is_usual(value: float, before: list[float], spike: bool) -> None:
    assert (judge(value, before, factor=20, least=0.05) is not None) == spike


def line(step: int, loss: float, grad_norm: float = 1.0) -> dict[str, Any]:
    return {"step": step, "loss": loss, "grad_norm": grad_norm}


def test_a_gradient_is_watched_as_a_loss_is() -> None:
    watch = SpikeWatch(Spikes(), [])
    assert watch.look(line(1, 2.0, float("nan"))) == Spike(1, "the norm of the gradient is nan", finite=False)


def test_a_spike_does_not_become_usual_and_a_run_that_goes_on_knows_what_was() -> None:
    before = [line(step, loss) for step, loss in enumerate(NOISY, 1)]
    watch = SpikeWatch(Spikes(), [*before, {"step": 100, "held_out_loss": 50.0}])
    for step in range(101, 140):
        found = watch.look(line(step, 30.0))
        assert found
        assert found.reason.startswith("the loss is 30, above ")
    assert watch.look(line(140, 1.0)) is None
