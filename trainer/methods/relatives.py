"""Whether models can be merged: they must have come from one model. Pure: facts about each model go in.

Each check compares a model with the base. Names are those of the recipe.
"""

from collections.abc import Mapping
from typing import Any

from services.shared.architectures import is_scorer
from services.shared.manifests import Manifest
from trainer.errors import Unfit

_WAY_OUT = "Merge models that were trained from one base"
_FREE = frozenset({"torch_dtype", "dtype", "transformers_version", "use_cache", "architectures", "initializer_range"})
"""Keys of config.json that do not say what the weights mean. Neither do those that begin with `_`, or end with one of
_FREE_ENDS."""
_FREE_ENDS = ("_token_id", "dropout")

Shapes = Mapping[str, tuple[int, ...]]


def check_version(name: str, manifest: Manifest, base: Manifest) -> None:
    """Checks what the registry knows of a model, before it is fetched.

    Raises:
        Unfit: It is an adapter or a reward model, or it has another architecture or vocabulary than the base.
    """
    if is_scorer(manifest.architecture):
        raise Unfit(f"{name}: it is a reward model ({manifest.architecture}), which can only be trained further")
    if manifest.kind != "model":
        raise Unfit(
            f"{name}: it is an adapter, and a whole model is needed. Name the model that its run published with"
            " merged: true"
        )
    if manifest.architecture != base.architecture:
        raise Unfit(
            f"{name}: its architecture is {manifest.architecture}, and that of the base is {base.architecture}."
            f" {_WAY_OUT}"
        )
    if manifest.vocab_size != base.vocab_size:
        raise Unfit(
            f"{name}: its vocabulary has {manifest.vocab_size} tokens, and that of the base has {base.vocab_size}."
            f" {_WAY_OUT}"
        )


def check_config(name: str, config: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Compares two config.json.

    Raises:
        Unfit: The model is quantized, or its weights mean something else than the base's.
    """
    if config.get("quantization_config") or config.get("compression_config"):
        raise Unfit(
            f"{name}: its weights are quantized. Merge the models that were not quantized, and quantize the result"
        )
    for key in sorted(config.keys() | base.keys()):
        own, wanted = config.get(key), base.get(key)
        if own != wanted and not _is_free(key):
            raise Unfit(f"{name}: config.json has {key} = {own!r}, and the base has {wanted!r}. {_WAY_OUT}")


def check_shapes(name: str, shapes: Shapes, base: Shapes) -> None:
    """Compares the tensors of two models.

    Raises:
        Unfit: One has a tensor that the other has not, or a tensor has two shapes.
    """
    for tensor in sorted(shapes.keys() | base.keys()):
        if tensor not in shapes:
            raise Unfit(f"{name}: it has no tensor {tensor}, and the base has one. {_WAY_OUT}")
        if tensor not in base:
            raise Unfit(f"{name}: it has a tensor {tensor}, and the base has none. {_WAY_OUT}")
        if shapes[tensor] != base[tensor]:
            own, wanted = (list(found[tensor]) for found in (shapes, base))
            raise Unfit(f"{name}: its tensor {tensor} has the shape {own}, that of the base {wanted}. {_WAY_OUT}")


def check_tokens(name: str, tokens: Mapping[str, int], base: Mapping[str, int]) -> None:
    """Compares the vocabularies of two tokenizers.

    Raises:
        Unfit: A token has another number, or only one of them has it.
    """
    different = (token for token in tokens.keys() | base.keys() if tokens.get(token) != base.get(token))
    if (token := min(different, default=None)) is not None:
        own, wanted = (_number(found.get(token)) for found in (tokens, base))
        raise Unfit(f"{name}: in its tokenizer {token!r} {own}, and in that of the base it {wanted}. {_WAY_OUT}")


def _is_free(key: str) -> bool:
    return key in _FREE or key.startswith("_") or key.endswith(_FREE_ENDS)


def _number(token: int | None) -> str:
    return "is missing" if token is None else f"has the number {token}"
