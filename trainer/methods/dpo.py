"""Direct preference optimization (Rafailov et al., 2023), by TRL's DPOTrainer.

The model learns to prefer the chosen answer of a pair to the rejected one, beside what the base prefers. The base is
the reference: with an adapter it is the model without it, and else a second copy of the base in memory.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import datasets
from trl import DPOConfig, DPOTrainer

from trainer.data.split import Split
from trainer.examples import Renderer
from trainer.learning_recipe import DpoRecipe
from trainer.methods.material import Material, counts_of
from trainer.methods.ordered import Ordered
from trainer.pairs import Pairs, pairs

FIGURES: Mapping[str, str] = MappingProxyType({"held_out_accuracy": "eval_rewards/accuracies"})
"""What is measured of held-out pairs beside the loss: the share of which the model prefers the chosen answer more than
its base does."""


def material(recipe: DpoRecipe, renderer: Renderer, split: Split) -> Material:
    """Data of a run, as DPOTrainer works with it: the tokens of prompts and of both answers.

    Raises:
        WrongData: The data holds no preference pairs, or the base's chat template does not go with them.
    """
    learnt, held_out = (pairs(side, renderer, recipe.max_length, "dpo") for side in (split.training, split.held_out))
    return Material(_dataset(learnt), _dataset(held_out), counts_of(learnt, held_out))


def trainer(recipe: DpoRecipe, arguments: dict[str, Any], **common: Any) -> DPOTrainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    own = {"loss_type": [recipe.loss], "beta": recipe.beta, "label_smoothing": recipe.label_smoothing}
    return _Tokenized(args=DPOConfig(**arguments, **own), **common)


class _Tokenized(Ordered, DPOTrainer):  # type: ignore[misc]
    """Takes pairs as tokens: TRL would render them again, and count nothing of what it cuts."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset


def _dataset(pairs: Pairs) -> datasets.Dataset:
    rows = [
        {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs.kept
    ]
    return datasets.Dataset.from_list(rows)
