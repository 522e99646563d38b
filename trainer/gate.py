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
        loss: The loss of the result on held-out data, and that of its base, if it has one.
        base: What the base is called, for the message.
        advice: What people may change, for the message: one sentence.

    Raises:
        Worse: The result is worse than the gate allows, and nobody said that it may be.
    """
    if gate.publish_worse:
        return
    if gate.max_loss is not None and loss.value > gate.max_loss:
        raise _refusal(loss, f"more than gate.max_loss = {gate.max_loss:g} allows", advice)
    if loss.parent is not None and loss.value > loss.parent + gate.max_loss_increase:
        than = f"and that of its base {base} is {loss.parent:.4f} (gate.max_loss_increase = {gate.max_loss_increase:g})"
        raise _refusal(loss, than, advice)


def _refusal(loss: Measured, than: str, advice: str) -> Worse:
    return Worse(
        f"the gate refuses the result: its held-out loss is {loss.value:.4f}, {than}. Nothing is published and no alias"
        f" moves. {advice} To publish it all the same, set gate: {{publish_worse: true}} in the recipe; in the same"
        " folder nothing is trained or made again"
    )
