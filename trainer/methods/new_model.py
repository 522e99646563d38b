"""A new model with random weights: the folder that a run from nothing begins with, as others begin with their base."""

import shutil
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PretrainedConfig, Qwen3Config, set_seed

from trainer.checksums import is_sealed, seal
from trainer.errors import Unfit
from trainer.pretrain_recipe import NewModel, PretrainRecipe
from trainer.selection import is_tokenizer_file

_TEMPLATE = "chat_template.jinja"
_CHAT = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"})


def create(recipe: PretrainRecipe, tokenizer: Path, folder: Path, vocab_size: int = 1) -> str:
    """Makes the model, unless it is there already.

    Its weights are in the precision of the run's computation, and so will the result's be.

    Args:
        recipe: Its `model` is set.
        tokenizer: Folder with the files of the tokenizer.
        folder: For the model.
        vocab_size: Fewest tokens that it must know.

    Returns:
        What it is, for people, with its number of parameters.

    Raises:
        Unfit: The tokenizer has no end token, or its chat template is wrong.
        BrokenSeal: The folder was changed.
    """
    if recipe.model is None:
        raise AssertionError("a new model has a shape")
    if not is_sealed(folder):
        _copy_tokenizer(recipe, tokenizer, folder)
    config = config_of(recipe.model, AutoTokenizer.from_pretrained(folder, local_files_only=True), recipe, vocab_size)
    if not is_sealed(folder):
        set_seed(recipe.seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.to(getattr(torch, recipe.dtype)).save_pretrained(folder)
        seal(folder)
    return _told(config)


def config_of(shape: NewModel, tokenizer: Any, recipe: PretrainRecipe, vocab_size: int) -> PretrainedConfig:
    """The configuration of a new model. Raises Unfit: The tokenizer has no end token."""
    if tokenizer.eos_token_id is None:
        raise Unfit("the tokenizer has no eos_token, which ends every document: name one in tokenizer_config.json")
    whole = shape.completed()
    heads, hidden = whole.num_attention_heads or 1, whole.hidden_size or 1
    kind = Qwen3Config if shape.qk_norm else LlamaConfig
    return kind(
        vocab_size=max(vocab_size, max(tokenizer.get_vocab().values()) + 1),
        hidden_size=hidden,
        intermediate_size=whole.intermediate_size,
        num_hidden_layers=whole.num_hidden_layers,
        num_attention_heads=heads,
        num_key_value_heads=whole.num_key_value_heads or heads,
        head_dim=hidden // heads,
        max_position_embeddings=whole.max_position_embeddings or recipe.max_length,
        rope_parameters={"rope_type": "default", "rope_theta": whole.rope_theta or 10_000.0},
        tie_word_embeddings=bool(whole.tie_word_embeddings),
        initializer_range=whole.initializer_range,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )


def parameters(config: PretrainedConfig) -> tuple[int, int]:
    """How many numbers a model of this configuration learns, and how many of them are its embedding."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return model.num_parameters(), model.get_input_embeddings().weight.numel()


def _told(config: PretrainedConfig) -> str:
    count, embedding = parameters(config)
    return (
        f"the new model has {count:,} parameters, {embedding:,} of them in its embedding of {config.vocab_size:,}"
        f" tokens ({'Qwen3' if isinstance(config, Qwen3Config) else 'Llama'}, {config.num_hidden_layers} layers,"
        f" width {config.hidden_size}, {config.num_attention_heads} heads)"
    )


def _copy_tokenizer(recipe: PretrainRecipe, tokenizer: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in sorted(tokenizer.iterdir()):
        if file.is_file() and is_tokenizer_file(file.name):
            shutil.copyfile(file, folder / file.name)
    if recipe.chat_template is None:
        return
    (folder / _TEMPLATE).write_text(recipe.chat_template)
    try:
        AutoTokenizer.from_pretrained(folder, local_files_only=True).apply_chat_template(list(_CHAT), tokenize=False)
    except TemplateError as error:
        raise Unfit(f"chat_template: it cannot render a question and its answer: {error}") from None
