"""Distillation by the answers of a teacher (Kim and Rush, 2016): the model, or a draft model for it, learns them.

What the teacher answered is learnt as sft learns answers, by TRL's SFTTrainer.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trl import SFTConfig, SFTTrainer

from trainer.data.split import Split
from trainer.distill_recipe import DistillRecipe
from trainer.examples import Renderer
from trainer.methods import sft
from trainer.methods.material import Material
from trainer.methods.ordered import Ordered

FIGURES: Mapping[str, str] = MappingProxyType({"held_out_token_accuracy": "eval_mean_token_accuracy"})
"""What is measured of held-out answers beside the loss: the share of tokens that are the model's first choice. For a
draft model that is about the share of its first guesses that its base accepts, where the base is the teacher."""


def material(recipe: DistillRecipe, renderer: Renderer, split: Split) -> Material:
    """Data of a run: the teacher's answers as tokens and labels.

    Raises:
        WrongData: The base's chat template does not go with the data.
    """
    return sft.learnt_answers(renderer, split)


def trainer(recipe: DistillRecipe, arguments: dict[str, Any], **common: Any) -> SFTTrainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    return _Ordered(args=SFTConfig(**arguments), **common)


class _Ordered(Ordered, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with our order of rows."""
