"""Pretraining, by the Trainer of transformers: the loss is that of every token but the first of a sequence.

Which sequence stands at which place of the run is said by the corpus (data/corpus.py): its order is that of the run.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from peft import get_peft_model
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, default_data_collator

from trainer.data.corpus import Corpus
from trainer.data.token_stream import Tokens
from trainer.examples import IGNORED, Renderer
from trainer.methods.arguments import LOSS
from trainer.methods.material import Material
from trainer.methods.ordered import Ordered
from trainer.pretrain_recipe import PretrainRecipe
from trainer.record import Counts

_PERPLEXITY = "eval_perplexity"
FIGURES: Mapping[str, str] = MappingProxyType({"held_out_perplexity": _PERPLEXITY})
"""What is measured of held-out sequences beside the loss."""

Row = Mapping[str, Any]


def material(recipe: PretrainRecipe, renderer: Renderer, corpus: Corpus) -> Material:
    """Data of a run, as a Trainer takes it."""
    count = steps(recipe, corpus.learnt) * recipe.batch * recipe.gradient_accumulation_steps
    return Material(
        Sequences(corpus, count, document_mask=recipe.document_mask),
        HeldOut(corpus, document_mask=recipe.document_mask),
        Counts(learnt=corpus.learnt, held_out=corpus.held_out, cut=0, dropped=0),
    )


def steps(recipe: PretrainRecipe, sequences: int) -> int:
    """Steps of a run. A pass that does not end with a step goes on to the step's end."""
    if recipe.steps is not None:
        return recipe.steps
    return math.ceil((recipe.epochs or 1) * sequences / (recipe.batch * recipe.gradient_accumulation_steps))


def trainer(recipe: PretrainRecipe, arguments: dict[str, Any], **common: Any) -> Trainer:
    """The trainer of this method; `arguments` and `common` are what all methods share."""
    own = {key: value for key, value in arguments.items() if key != "max_length"}
    own |= {"max_steps": steps(recipe, common["train_dataset"].learnt)}
    adapter, model = common.pop("peft_config"), common.pop("model")
    if adapter is not None:
        model = get_peft_model(model, adapter)
        if recipe.gradient_checkpointing:
            model.enable_input_require_grads()
    return _Pretrainer(model=model, args=TrainingArguments(**own), data_collator=default_data_collator, **common)


class Sequences(Dataset[Row]):  # type: ignore[misc]
    """The sequences of a run by their position in it: one may come several times."""

    def __init__(self, corpus: Corpus, count: int, *, document_mask: bool) -> None:
        self._corpus, self._count, self._document_mask = corpus, count, document_mask
        self.learnt = corpus.learnt

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Row:
        return row(self._corpus.learnt_at(position), self._corpus.eos_id, document_mask=self._document_mask)


class HeldOut(Dataset[Row]):  # type: ignore[misc]
    """The sequences that a run only measures with."""

    def __init__(self, corpus: Corpus, *, document_mask: bool) -> None:
        self._corpus, self._document_mask = corpus, document_mask

    def __len__(self) -> int:
        return self._corpus.held_out

    def __getitem__(self, number: int) -> Row:
        if number >= len(self):
            raise IndexError(number)
        return row(self._corpus.held_out_at(number), self._corpus.eos_id, document_mask=self._document_mask)


def row(ids: Tokens, eos_id: int, *, document_mask: bool) -> Row:
    """A sequence as the model takes it.

    Args:
        ids: Shape (tokens,).
        eos_id: Ends a document.
        document_mask: Whether documents do not see each other. transformers masks where positions begin again; the
            first token of a document then has nothing before it to be learnt from.
    """
    if not document_mask:
        return {"input_ids": ids, "labels": ids}
    begins = np.flatnonzero(ids[:-1] == eos_id) + 1
    starts = np.zeros(len(ids), np.int64)
    starts[begins] = begins
    labels = ids.copy()
    labels[begins] = IGNORED
    return {"input_ids": ids, "labels": labels, "position_ids": np.arange(len(ids)) - np.maximum.accumulate(starts)}


class _Pretrainer(Ordered, Trainer):  # type: ignore[misc]
    """Measures the perplexity too."""

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        found: dict[str, float] = super().evaluate(*args, **options)
        return {**found, _PERPLEXITY: _exponential(found[LOSS])}


def _exponential(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
