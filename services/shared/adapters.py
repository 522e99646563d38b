"""LoRA adapters as PEFT saves them: which files an adapter has, and which kinds of LoRA an engine can apply.

Publishing and loading check the same: what cannot be served is refused before it is published, and once more before an
engine sees it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.shared.manifests import Manifest

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)

# Ways to choose the first weights. A saved adapter is a plain LoRA after these; others also change the base model.
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


class WrongAdapter(Exception):
    """The adapter cannot be served. The message names the field or file and what is wrong with it."""


def read_rank(folder: Path) -> int:
    """Checks the adapter_config.json of a folder and returns the largest rank that the adapter has.

    Raises:
        WrongAdapter: The file is missing, is no LoRA's, or asks for what engines do not apply.
    """
    try:
        document = json.loads((folder / ADAPTER_CONFIG).read_bytes())
    except FileNotFoundError:
        raise WrongAdapter(f"{ADAPTER_CONFIG} is missing") from None
    except (ValueError, RecursionError) as error:
        raise WrongAdapter(f"{ADAPTER_CONFIG} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise WrongAdapter(f"{ADAPTER_CONFIG} is not a JSON object")
    return rank_of(document)


def rank_of(config: Mapping[str, Any]) -> int:
    """Checks the content of adapter_config.json and returns the largest rank that the adapter has.

    Raises:
        WrongAdapter: It is no LoRA's, or it asks for what engines do not apply.
    """
    if (kind := config.get("peft_type")) != "LORA":
        raise WrongAdapter(f"{ADAPTER_CONFIG}: peft_type is {kind!r}; only LORA can be served")
    for key, allowed, why in _RULES:
        if key in config and not allowed(config[key]):
            raise WrongAdapter(f"{ADAPTER_CONFIG}: {key} = {config[key]!r}: {why}")
    if not isinstance(config.get("target_modules"), (str, list)):
        raise WrongAdapter(f"{ADAPTER_CONFIG}: target_modules must be a text or a list")
    if not _is_number(config.get("lora_alpha")):
        raise WrongAdapter(f"{ADAPTER_CONFIG}: lora_alpha must be a number")
    patterns = config.get("rank_pattern") or {}
    if not isinstance(patterns, dict):
        raise WrongAdapter(f"{ADAPTER_CONFIG}: rank_pattern must be an object")
    return max(map(_rank, (config.get("r"), *patterns.values())))


def check_manifest(manifest: Manifest, base: Manifest) -> None:
    """Checks that a version is an adapter for this very model version, with the files of an adapter.

    Raises:
        WrongAdapter: It is not.
    """
    if manifest.kind != "adapter":
        raise WrongAdapter(f"{manifest.model} is a whole model, not an adapter")
    if manifest.base != f"{base.model}@{base.version}":
        raise WrongAdapter(f"it is for {short(manifest.base or '')}, and {base.model}@{base.version[:12]} is served")
    names = {file.name for file in manifest.files}
    if names != set(ADAPTER_FILES):
        raise WrongAdapter(f"its files are {', '.join(sorted(names))}; an adapter has {' and '.join(ADAPTER_FILES)}")


def check_rank(rank: int, max_rank: int) -> None:
    """Checks the rank of an adapter against the pool's setting.

    Raises:
        WrongAdapter: The rank is too large.
    """
    if rank > max_rank:
        raise WrongAdapter(f"its rank is {rank}, and the pool serves ranks up to {max_rank} (adapters.max_rank)")


def short(reference: str) -> str:
    """A reference model@version with the first characters of its version, for people."""
    model, _, version = reference.partition("@")
    return f"{model}@{version[:12]}"


def _rank(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WrongAdapter(f"{ADAPTER_CONFIG}: a rank must be a whole number from 1 on, not {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain_start(value: object) -> bool:
    return not isinstance(value, str) or value.lower() in _PLAIN_STARTS


def _is_off(value: object) -> bool:
    return not value


_RULES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("use_dora", _is_off, "DoRA cannot be served; train without it"),
    ("bias", lambda value: value in (None, "none"), "adapters with biases cannot be served; train with bias: none"),
    ("lora_bias", _is_off, "adapters with biases cannot be served"),
    ("modules_to_save", _is_off, "whole layers cannot be part of an adapter; merge it into a model instead"),
    ("trainable_token_indices", _is_off, "trained token embeddings cannot be served; merge it into a model instead"),
    ("init_lora_weights", _is_plain_start, "it changes the base model too; convert it to a plain LoRA with PEFT"),
    ("alora_invocation_tokens", _is_off, "activated LoRA cannot be served"),
    ("layer_replication", _is_off, "replicated layers cannot be served"),
    ("use_bdlora", _is_off, "block-diagonal LoRA cannot be served"),
    ("use_qalora", _is_off, "QALoRA cannot be served"),
    ("task_type", lambda value: value in (None, "CAUSAL_LM"), "only adapters of text generation can be served"),
)
