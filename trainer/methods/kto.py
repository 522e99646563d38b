"""Kahneman-Tversky optimization (Ethayarajh et al., 2024), by TRL's KTOTrainer.

The model learns from answers of which each is known to be good or bad, without a pair. The base is the reference, as
for dpo.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from random import Random
from types import MappingProxyType
from typing import Any

import datasets
from trl import KTOConfig, KTOTrainer

from trainer.data.split import Split
from trainer.data.wrong import WrongData
from trainer.examples import Renderer
from trainer.learning_recipe import KtoRecipe
from trainer.methods.material import Material, counts_of
from trainer.pairs import JudgedAnswer, judged_answers

FIGURES: Mapping[str, str] = MappingProxyType({"held_out_margin": "eval_rewards/margins"})
"""What is measured of held-out answers beside the loss: how much more the reward of a good answer is than that of a bad
one, where the reward is beta times what the model's log-probability gained on the base's."""


def material(recipe: KtoRecipe, renderer: Renderer, split: Split) -> Material:
    """Data of a run: the tokens of prompts and answers, in the order in which they are learnt.

    Raises:
        WrongData: The data holds no judged answers, or none that are good or bad; or the base's chat template does not
            go with them.
    """
    learnt, held_out = (judged_answers(side, renderer, recipe.max_length) for side in (split.training, split.held_out))
    for name, side in (("to learn", learnt), ("held out", held_out)):
        for word, good in (("good", True), ("bad", False)):
            if side.kept and not any(answer.good is good for answer in side.kept):
                raise WrongData(f"none of the answers {name} is {word}: kto compares good ones with bad ones")
    # TRL learns them in this order, since it compares each answer with the one before it in its batch.
    order = list(learnt.kept)
    Random(recipe.seed).shuffle(order)  # noqa: S311
    return Material(
        _dataset(order, recipe.batch), _dataset(_mixed(held_out.kept), recipe.batch), counts_of(learnt, held_out)
    )


def trainer(recipe: KtoRecipe, arguments: dict[str, Any], **common: Any) -> KTOTrainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    own = {
        "loss_type": recipe.loss,
        "beta": recipe.beta,
        "desirable_weight": recipe.desirable_weight,
        "undesirable_weight": recipe.undesirable_weight,
    }
    return _Tokenized(args=KTOConfig(**arguments, **own), **common)


class _Tokenized(KTOTrainer):  # type: ignore[misc]
    """Takes answers as tokens: TRL would render them again, and count nothing of what it cuts."""

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset


def _mixed(answers: Sequence[JudgedAnswer]) -> list[JudgedAnswer]:
    """Good and bad ones in turn, so that one batch has both: TRL measures the margin by batches."""
    sides = ([answer for answer in answers if answer.good is good] for good in (True, False))
    return [answer for both in zip_longest(*sides) for answer in both if answer is not None]


def _dataset(answers: Sequence[JudgedAnswer], batch: int) -> datasets.Dataset:
    """With the answers that the divergence from the base is measured with: in each batch those of the prompt before."""
    rows = []
    for start in range(0, len(answers), batch):
        part = answers[start : start + batch]
        others = (part[-1], *part[:-1])
        rows += [
            {
                "prompt_ids": one.prompt,
                "completion_ids": one.answer,
                "KL_completion_ids": other.answer,
                "label": one.good,
            }
            for one, other in zip(part, others, strict=True)
        ]
    return datasets.Dataset.from_list(rows)
