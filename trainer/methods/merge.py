"""Merging one tensor of several models, by PEFT's formulas: mean, TIES (Yadav et al., 2023), DARE (Yu et al., 2023).

SLERP, which PEFT does not have, is that of mergekit.
"""

import hashlib
import warnings
from collections.abc import Sequence

import torch
from peft.utils.merge_utils import dare_linear, dare_ties, task_arithmetic, ties

from trainer.making_recipe import MergeRecipe

DENSITY = 0.5
"""What `density` is where nobody says it."""
MIDDLE = 0.5
"""What `t` is where nobody says it."""
_NEARLY_PARALLEL = 0.9995
"""Cosine from which on the arc is as good as a straight line, and its formula divides by nearly nothing."""
_DENSE = {"ties": ties, "dare_linear": dare_linear, "dare_ties": dare_ties}


def merged(recipe: MergeRecipe, name: str, base: torch.Tensor, models: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of the result, in float32.

    Args:
        recipe: Of the merge.
        name: Of the tensor. What is random about it depends on name and seed alone.
        base: The base's, in float32.
        models: Those of the recipe's models, in its order, in float32.
    """
    weights = torch.tensor([part.weight for part in recipe.models])
    if recipe.merge_method == "linear":
        return task_arithmetic(list(models), weights / weights.sum())
    if recipe.merge_method == "slerp":
        return slerp(base, models[0], MIDDLE if recipe.t is None else recipe.t)
    changes = [model - base for model in models]
    density = DENSITY if recipe.density is None else recipe.density
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The density .* no pruning will be performed")
        torch.manual_seed(_seed(recipe.seed, name))
        return base + _DENSE[recipe.merge_method](changes, weights, density)


def slerp(start: torch.Tensor, end: torch.Tensor, t: float) -> torch.Tensor:
    """The place `t` (0: start, 1: end) on the arc between two tensors, each taken as one vector."""
    lengths = start.norm() * end.norm()
    cosine = float((start * end).sum() / lengths) if lengths > 0 else 1.0
    if abs(cosine) > _NEARLY_PARALLEL:
        return torch.lerp(start, end, t)
    angle = torch.arccos(torch.tensor(cosine))
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
