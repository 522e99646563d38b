"""Which module a method is."""

from types import ModuleType

from trainer.methods import sft
from trainer.recipe import Recipe

MODULES = {"sft": sft}


def pick(recipe: Recipe) -> ModuleType:
    """The module of a recipe's method, with its functions `material` and `trainer`."""
    return MODULES[recipe.method]
