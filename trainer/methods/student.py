"""A draft model before it has learnt: a small Llama with random weights and the vocabulary of the model it helps."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from trainer.distill_recipe import Student

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def student_of(shape: Student, base: Path) -> Any:
    """A model in float32. Its weights come from torch's random numbers.

    Args:
        shape: Of the recipe.
        base: Folder of the model it is a draft for. Engines need the same vocabulary size, which may be larger than
            that of the tokenizer; and the same context, for answers that are as long.
    """
    target = AutoConfig.from_pretrained(base, local_files_only=True).get_text_config()
    config = LlamaConfig(
        **shape.model_dump(exclude_none=True, exclude={"tokens"}),
        vocab_size=target.vocab_size,
        max_position_embeddings=target.max_position_embeddings,
        # Most of a small draft is its embedding: one for input and output halves it.
        tie_word_embeddings=True,
        **{name: getattr(target, name, None) for name in _TOKENS},
    )
    return LlamaForCausalLM(config).to(torch.float32)
