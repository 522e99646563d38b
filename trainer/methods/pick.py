"""Which module a method is."""

from types import ModuleType

from trainer.learning_recipe import LearningRecipe
from trainer.methods import distill, dpo, kto, pretrain, reward, sft

MODULES = {"pretrain": pretrain, "sft": sft, "dpo": dpo, "kto": kto, "reward": reward, "distill": distill}


def pick(recipe: LearningRecipe) -> ModuleType:
    """The module of a recipe's method, with its functions `material` and `trainer`, and FIGURES."""
    return MODULES[recipe.method]
