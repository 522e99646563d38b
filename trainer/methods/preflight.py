"""What is checked before the first step, since it would end a run in its middle or at its end. Pure.

Facts about the base go in: its manifest, the content of its files, the names of its layers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from services.shared.architectures import is_scorer
from services.shared.manifests import Manifest
from trainer.errors import Unfit
from trainer.learning_recipe import Adapter, LearningRecipe
from trainer.recipe import Recipe

_MAX_LISTED = 30
INPUT, OUTPUT, SCORE = "embed_tokens", "lm_head", "score"
"""What most architectures call their embedding, their output layer, and the head of a reward model."""


def check_manifest(recipe: Recipe, base: Manifest) -> None:
    """Checks what the registry knows of a base, before it is fetched.

    Raises:
        Unfit: The base is an adapter, a reward model or a speculator, or its context is shorter than an example may be.
    """
    if is_scorer(base.architecture) and recipe.method != "reward":
        raise Unfit(
            f"base = {recipe.base!r}: it is a reward model ({base.architecture}), which gives numbers and no text. Name"
            " the model that it was made from"
        )
    if base.speculates:
        raise Unfit(
            f"base = {recipe.base!r}: it is a speculator, which drafts for {base.speculates.target}. To make another"
            " one, name that as base of method: distill, with student"
        )
    if base.kind == "adapter":
        raise Unfit(
            f"base = {recipe.base!r}: it is an adapter, which can be trained no further. Name its model, {base.base};"
            " or publish the adapter's run with merged: true, and name what that makes"
        )
    check_length(recipe, base)


def check_machine(recipe: LearningRecipe, *, has_gpu: bool, has_bitsandbytes: bool) -> None:
    """Checks what the machine has, before anything is fetched.

    Raises:
        Unfit: The recipe holds the base in 4 bits, and the machine cannot.
    """
    if not recipe.load_in_4bit or (has_gpu and has_bitsandbytes):
        return
    lacks = "has no GPU" if not has_gpu else "has no bitsandbytes (pip install bitsandbytes)"
    raise Unfit(
        f"load_in_4bit is true, and this machine {lacks}. Run the recipe where there are both, or leave load_in_4bit"
        " out: the base is held in float32 then, which takes four bytes of memory for each of its weights"
    )


def check_length(recipe: Recipe, base: Manifest) -> None:
    """Checks the length of examples.

    Raises:
        Unfit: The base's context is shorter than an example may be.
    """
    if recipe.max_length > base.context_tokens:
        raise Unfit(
            f"max_length = {recipe.max_length}: {recipe.base} has a context of {base.context_tokens} tokens;"
            f" set at most that"
        )


def check_config(recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Checks the config.json of a base.

    Raises:
        Unfit: Its weights are quantized.
    """
    if found := config.get("quantization_config"):
        kind = found.get("quant_method", "unknown") if isinstance(found, dict) else "unknown"
        raise Unfit(
            f"base = {recipe.base!r}: its weights are quantized ({kind}), and rounded weights cannot learn. Train the"
            " model that it was made from, and quantize the result"
        )


def check_template(recipe: Recipe, template: object) -> None:
    """Checks that a base can render a chat.

    Raises:
        Unfit: It has no chat template.
    """
    if template is None:
        raise Unfit(
            f"base = {recipe.base!r}: it has no chat template, so chats cannot be rendered. Put the template of its"
            " family into its folder as chat_template.jinja, and import it again"
        )


def check_targets(adapter: Adapter, layers: Mapping[str, bool], *, tied: bool) -> None:
    """Checks the layers that an adapter is for.

    Args:
        adapter: Of the recipe.
        layers: Full names of the base's layers, and whether LoRA can adapt a layer of its kind.
        tied: Whether the embedding and the output layer have their weights in common.

    Raises:
        Unfit: A name fits no layer, or one that cannot be adapted.
    """
    if isinstance(adapter.targets, str):
        return
    for target in adapter.targets:
        found = [name for name in layers if name == target or name.endswith(f".{target}")]
        if not any(layers[name] for name in found):
            what = "cannot have an adapter" if found else "does not exist"
            raise Unfit(
                f"adapter.targets = {list(adapter.targets)!r}: the layer {target!r} {what}. Those that can:"
                f" {_listed(name for name, fits in layers.items() if fits)}; or all-linear"
            )
        if target.rpartition(".")[2] == SCORE:
            raise Unfit(
                f"adapter.targets = {list(adapter.targets)!r}: {SCORE} is the new head of the reward model, all of"
                " which learns anyway. Leave it out"
            )
        if target.rpartition(".")[2] == OUTPUT:
            raise Unfit(
                f"adapter.targets = {list(adapter.targets)!r}: TRL computes the loss from the weights of {OUTPUT}"
                " themselves, so an adapter there would learn nothing. Leave it out"
            )
        if tied and target.rpartition(".")[2] == INPUT:
            raise Unfit(
                f"adapter.targets = {list(adapter.targets)!r}: the base ties {INPUT} to its output layer, and merging"
                " would change both. Leave it out, or leave adapter out: then all weights learn"
            )


def padding(tokenizer: Any) -> tuple[str, str | None]:
    """The token that fills short rows, and a sentence for people if it had to be chosen.

    Args:
        tokenizer: The base's.

    Raises:
        Unfit: It has no token that could be it.
    """
    if tokenizer.pad_token is not None:
        return tokenizer.pad_token, None
    for kind in ("eos_token", "unk_token"):
        if (token := getattr(tokenizer, kind)) is not None:
            return token, f"the base has no padding token: rows are filled with its {kind}, {token!r}, which is masked"
    raise Unfit("the base's tokenizer has no pad_token, eos_token or unk_token: name one in tokenizer_config.json")


def _listed(names: Iterable[str]) -> str:
    """The last parts of the names, each once."""
    parts = sorted({name.rpartition(".")[2] for name in names})
    return ", ".join(parts[:_MAX_LISTED]) + (", ..." if len(parts) > _MAX_LISTED else "")
