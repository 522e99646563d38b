"""The base of a run in memory: its weights, its tokenizer, and an adapter on it."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

from trainer.distill_recipe import DistillRecipe
from trainer.learning_recipe import Adapter, LearningRecipe, RewardRecipe
from trainer.methods.preflight import SCORE, check_config, check_targets, check_template
from trainer.methods.scorer import scorer_of
from trainer.methods.student import student_of
from trainer.recipe import Recipe
from trainer.selection import CONFIG

_ADAPTABLE = (torch.nn.Linear, torch.nn.Embedding)


def tokenizer_of(recipe: Recipe, base: Path, *, for_chats: bool) -> Any:
    """The base's tokenizer.

    Args:
        recipe: The run's.
        base: Folder of the base.
        for_chats: Whether it must render chats; texts need no chat template.

    Raises:
        Unfit: It cannot render a chat, and must.
    """
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    if for_chats:
        check_template(recipe, tokenizer.chat_template)
    return tokenizer


def model_of(recipe: LearningRecipe, base: Path, *, in_4_bits: bool = False) -> Any:
    """The base in float32, the precision in which weights learn; or the student that the recipe wants for it.

    Args:
        recipe: The run's.
        base: Folder of the base.
        in_4_bits: Hold the weights of its layers in 4 bits. Then only an adapter can learn.

    Raises:
        Unfit: Its weights are quantized, or it has not the layers that the recipe's adapter is for.
    """
    if isinstance(recipe, DistillRecipe) and recipe.student:
        return student_of(recipe.student, base)
    config = config_of(base)
    check_config(recipe, config)
    if isinstance(recipe, RewardRecipe):
        model = scorer_of(str(recipe.base), base, attention(config))
    else:
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.float32,
            local_files_only=True,
            attn_implementation=attention(config),
            quantization_config=four_bits() if in_4_bits else None,
        )
        # transformers refuses to save some settings that it loads, and checks that after all the training. The result
        # gets the base's file as it is.
        model.generation_config = GenerationConfig()
    if recipe.adapter:
        tied = bool(model.config.get_text_config().tie_word_embeddings) and not isinstance(recipe, RewardRecipe)
        check_targets(recipe.adapter, _layers(model), tied=tied)
    return model


def four_bits() -> BitsAndBytesConfig:
    """QLoRA's format (Dettmers et al., 2023): NF4, whose scales are rounded too, computed in bfloat16."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def attention(config: dict[str, Any]) -> str | None:
    """How attention is computed: transformers' faster way leaves out what Gemma 2 does to attention scores.

    Args:
        config: Content of config.json.

    Returns:
        A name of transformers, or None for its own choice.
    """
    parts = (config, config.get("text_config"))
    capped = any(isinstance(part, dict) and part.get("attn_logit_softcapping") for part in parts)
    return "eager" if capped else None


def lora_config(adapter: Adapter, *, scores: bool = False) -> LoraConfig:
    """The adapter in PEFT's words. `scores`: it is for a reward model, whose new head learns whole."""
    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_dora=adapter.dora,
        use_rslora=adapter.rslora,
        target_modules=adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets),
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
        modules_to_save=[SCORE] if scores else None,
    )


def config_of(base: Path) -> dict[str, Any]:
    """Content of the base's config.json."""
    config: dict[str, Any] = json.loads((base / CONFIG).read_text())
    return config


def dtype_of(base: Path) -> torch.dtype:
    """The precision of the base's weights."""
    config = config_of(base)
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    return getattr(torch, name)


def _layers(model: Any) -> dict[str, bool]:
    from transformers.pytorch_utils import Conv1D

    return {name: isinstance(module, (*_ADAPTABLE, Conv1D)) for name, module in model.named_modules() if name}
