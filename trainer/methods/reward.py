"""Reward models (Bradley and Terry, 1952; Ouyang et al., 2022), by TRL's RewardTrainer.

The model gives a number to a chat with its answer: a higher one to the chosen answer of a pair than to the rejected
one. Its body is the base's, its head is new.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import datasets
from trl import RewardConfig, RewardTrainer

from trainer.data.split import Split
from trainer.examples import Renderer
from trainer.learning_recipe import RewardRecipe
from trainer.methods.material import Material, counts_of
from trainer.methods.ordered import Ordered
from trainer.pairs import Pairs, whole_pairs

FIGURES: Mapping[str, str] = MappingProxyType({"held_out_accuracy": "eval_accuracy"})
"""What is measured of held-out pairs beside the loss: the share of which the chosen answer has the higher number."""


def material(recipe: RewardRecipe, renderer: Renderer, split: Split) -> Material:
    """Data of a run, as RewardTrainer takes it: the tokens of both chats of a pair, to their end.

    Raises:
        WrongData: The data holds no preference pairs, or the base's chat template does not go with them.
    """
    sides = (whole_pairs(side, renderer, recipe.max_length, "reward") for side in (split.training, split.held_out))
    learnt, held_out = sides
    return Material(_dataset(learnt), _dataset(held_out), counts_of(learnt, held_out))


def trainer(recipe: RewardRecipe, arguments: dict[str, Any], **common: Any) -> RewardTrainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    own = {"center_rewards_coefficient": recipe.center_rewards_coefficient}
    return _Ordered(args=RewardConfig(**arguments, **own), **common)


class _Ordered(Ordered, RewardTrainer):  # type: ignore[misc]
    """RewardTrainer with our order of rows."""


def _dataset(pairs: Pairs) -> datasets.Dataset:
    rows = [
        {"chosen_ids": pair.prompt + pair.chosen, "rejected_ids": pair.prompt + pair.rejected} for pair in pairs.kept
    ]
    return datasets.Dataset.from_list(rows)
