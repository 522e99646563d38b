"""A recipe as people write it: one YAML file, with changes from the command line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from services.shared.settings import WrongSettings, check
from trainer.distill_recipe import DistillRecipe
from trainer.learning_recipe import DpoRecipe, KtoRecipe, RewardRecipe, SftRecipe
from trainer.making_recipe import MergeRecipe, QuantizeRecipe
from trainer.pretrain_recipe import PretrainRecipe
from trainer.recipe import Recipe

METHODS: Mapping[str, type[Recipe]] = MappingProxyType(
    {
        "sft": SftRecipe,
        "dpo": DpoRecipe,
        "kto": KtoRecipe,
        "reward": RewardRecipe,
        "distill": DistillRecipe,
        "merge": MergeRecipe,
        "quantize": QuantizeRecipe,
        "pretrain": PretrainRecipe,
    }
)


def parse(document: Any, name_of: Callable[[str], str] = str) -> Recipe:
    """Validates the content of a recipe.

    Args:
        document: The content.
        name_of: What a key is called in messages.

    Raises:
        WrongSettings: A key or value is wrong; the message names it.
    """
    if not isinstance(document, dict):
        return check(Recipe, document, name_of)
    current = _current(document)
    method = current.get("method")
    if not (isinstance(method, str) and method in METHODS):
        given = f" = {method!r}: it is" if "method" in current else " is not set:"
        raise WrongSettings(f"{name_of('method')}{given} one of {', '.join(METHODS)}")
    return check(METHODS[method], current, name_of)


def load(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; paths in it become absolute: of data, unless it lies in a bucket, and a folder as `tokenizer`.

    Args:
        file: YAML.
        changes: KEY=VALUE each, which count in place of what the file says; a key may be one of a part: adapter.r=8.

    Raises:
        WrongSettings: The file cannot be read or a value is wrong; the message names file, key and value.
    """
    recipe = parse(read_document(file, changes), lambda key: f"{file}: {key}")
    if isinstance(recipe, PretrainRecipe) and recipe.tokenizer and (file.parent / recipe.tokenizer).is_dir():
        recipe = recipe.model_copy(update={"tokenizer": str((file.parent / recipe.tokenizer).absolute())})
    changed: dict[str, Any] = {}
    if isinstance(recipe.data, Path):  # and not a bucket, or nothing
        changed["data"] = (file.parent / recipe.data).absolute()
    if recipe.evaluate and isinstance(text := recipe.evaluate.text, Path):
        changed["evaluate"] = recipe.evaluate.model_copy(update={"text": (file.parent / text).absolute()})
    return recipe.model_copy(update=changed)


def read_document(file: Path, changes: Sequence[str]) -> Any:
    """The content of a YAML file with changes; see `load`. Raises WrongSettings."""
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongSettings(f"{file}: {error}") from None
    for change in changes:
        document = _changed(document, change)
    return document


def _changed(document: Any, change: str) -> dict[str, Any]:
    key, equals, value = change.partition("=")
    first, *rest = key.split(".")
    if not equals or not all((first, *rest)):
        raise WrongSettings(f"--set {change}: write KEY=VALUE, such as learning_rate=0.001 or adapter.r=8")
    try:
        new: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise WrongSettings(f"--set {change}: {error}") from None
    for part in reversed(rest):
        new = {part: new}
    return _merged(document if isinstance(document, dict) else {}, {first: new}, len(rest))


def _merged(old: dict[str, Any], new: dict[str, Any], depth: int) -> dict[str, Any]:
    """`new` within `old`; below `depth` parts it takes the place of what was there."""
    key, value = next(iter(new.items()))
    if depth:
        inner = old.get(key)
        value = _merged(inner if isinstance(inner, dict) else {}, value, depth - 1)
    return {**old, key: value}


def _current(document: dict[str, Any]) -> dict[str, Any]:
    """Recipes of older releases as they are now: LoRA was a method, and its shape was called lora."""
    current = dict(document)
    if current.get("method") == "lora" and "adapter" not in current:
        current |= {"method": "sft", "adapter": current.pop("lora", None) or {}}
    if "lora" in current and current["lora"] is None:
        del current["lora"]
    return current
