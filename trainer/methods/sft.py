"""Supervised fine-tuning, by TRL's SFTTrainer: the loss is that of the answers' tokens."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import datasets
from trl import SFTConfig, SFTTrainer

from trainer.data.split import Split
from trainer.examples import Examples, Renderer
from trainer.learning_recipe import SftRecipe
from trainer.methods.material import Material, counts_of
from trainer.methods.ordered import Ordered

FIGURES: Mapping[str, str] = MappingProxyType({})
"""What is measured of held-out examples beside the loss."""


def material(recipe: SftRecipe, renderer: Renderer, split: Split) -> Material:
    """Data of a run, as SFTTrainer takes it: tokens and labels.

    Raises:
        WrongData: The base's chat template does not go with the data, or the data are preference pairs.
    """
    return learnt_answers(renderer, split)


def learnt_answers(renderer: Renderer, split: Split) -> Material:
    """Tokens and labels of both sides. Raises WrongData as `material` does."""
    learnt, held_out = renderer.examples(split.training), renderer.examples(split.held_out)
    return Material(_dataset(learnt), _dataset(held_out), counts_of(learnt, held_out))


def trainer(recipe: SftRecipe, arguments: dict[str, Any], **common: Any) -> SFTTrainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    # Held-out examples are not packed: the loss is the same, and there are as many of them as the counts say.
    return _Ordered(args=SFTConfig(**arguments, packing=recipe.packing, eval_packing=False), **common)


class _Ordered(Ordered, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with our order of rows."""


def _dataset(examples: Examples) -> datasets.Dataset:
    return datasets.Dataset.from_list([asdict(example) for example in examples.kept])
