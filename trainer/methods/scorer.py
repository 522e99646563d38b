"""A reward model before it has learnt: the base, with a new head that gives one number."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from services.shared.architectures import is_scorer
from trainer.errors import Unfit


def scorer_of(name: str, base: Path, attention: str | None) -> Any:
    """The base in float32 with a head of one number, whose weights come from torch's random numbers.

    A base that is a reward model keeps its head.

    Args:
        name: Of the base, for messages.
        base: Its folder.
        attention: How attention is computed.

    Raises:
        Unfit: Transformers has no model with such a head for its architecture, or its head has several numbers.
    """
    config = AutoConfig.from_pretrained(base, local_files_only=True)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise Unfit(
            f"base = {name!r}: transformers has no model that gives numbers to texts (ForSequenceClassification) for"
            f" {config.model_type}. Take a base of another family, such as Llama or Qwen"
        )
    if any(map(is_scorer, config.architectures or ())) and config.num_labels != 1:
        raise Unfit(f"base = {name!r}: its head gives {config.num_labels} numbers, and a reward is one")
    return AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32, local_files_only=True, attn_implementation=attention
    )
