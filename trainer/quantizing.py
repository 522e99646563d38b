"""Quantizing, as a run does it."""

from collections.abc import Sequence
from pathlib import Path

from trainer.errors import Unfit
from trainer.making import Part
from trainer.making_recipe import QuantizeRecipe
from trainer.quantize import CannotQuantize, Precision, quantize


class Quantizing:
    """The matrices of the base are rounded."""

    def __init__(self, recipe: QuantizeRecipe) -> None:
        self._recipe = recipe

    @property
    def others(self) -> tuple[str, ...]:
        """Only the base goes in."""
        return ()

    @property
    def phase(self) -> str:
        """What it does, for people."""
        return f"quantizing to {self._recipe.precision}"

    @property
    def advice(self) -> str:
        """What people may change when the gate refuses the result."""
        return "Choose a precision that rounds less."

    def source(self, base: Part, models: Sequence[Part]) -> str:
        """Where the result comes from, for people."""
        return f"quantized from {base.short} to {self._recipe.precision}"

    def make(self, base: Part, models: Sequence[Part], target: Path) -> None:
        """Writes the result into `target`. Raises Unfit for a base that cannot be quantized."""
        try:
            quantize(base.folder, target, Precision(self._recipe.precision))
        except CannotQuantize as error:
            reason = str(error).replace(str(base.folder), base.short)
            raise Unfit(f"base = {self._recipe.base!r}, precision = {self._recipe.precision}: {reason}") from None
