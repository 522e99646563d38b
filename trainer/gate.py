"""The gate: nothing is published by itself that is worse than what it was trained from. Pure."""

from services.shared.manifests import Measured
from trainer.recipe import Gate

LEARN_OTHERWISE = "Train with a smaller learning_rate, fewer steps or other data."
"""Advice after training."""


class Worse(Exception):
    """The result of a run does not pass the gate; the message has the figures and the ways out."""


def check(gate: Gate, loss: Measured, base: str, advice: str = LEARN_OTHERWISE) -> None:
    """Lets a result pass, or not.

    Args:
        gate: The recipe's.
        loss: The loss of the result on held-out data, and that of its base.
        base: What the base is called, for the message.
        advice: What people may change, for the message: one sentence.

    Raises:
        Worse: The result is worse than the gate allows, and nobody said that it may be.
    """
    if gate.publish_worse or loss.parent is None or loss.value <= loss.parent + gate.max_loss_increase:
        return
    raise Worse(
        f"the gate refuses the result: its held-out loss is {loss.value:.4f}, and that of its base {base} is"
        f" {loss.parent:.4f} (gate.max_loss_increase = {gate.max_loss_increase:g}). Nothing is published and no alias"
        f" moves. {advice} To publish it all the same, set gate: {{publish_worse: true}} in the recipe; in the same"
        " folder nothing is trained or made again"
    )
