"""Which speculators fit a pool: those that were made for its model, with its vocabulary and the pool's method."""

from services.shared.engine_settings import Engine, SimulatedEngine, VllmEngine
from services.shared.manifests import DraftMethod, Manifest

DEFAULT_TOKENS = 3
"""Draft tokens in each step, where neither the pool nor the speculator says."""


def reference_of(engine: Engine) -> str | None:
    """The registry reference of an engine's speculator; None: it has none in the registry."""
    match engine:
        case VllmEngine() | SimulatedEngine():
            found: str | None = getattr(engine.speculation, "model", None)
            return found


def misfit(key: str, method: DraftMethod, drafter: Manifest, target: Manifest) -> str | None:
    """Why a speculator cannot draft for a model; None: it can.

    Args:
        key: The key of tidegate.yaml that holds the speculation, for the message.
        method: The pool's method.
        drafter: The speculator, or a whole model that is used as one.
        target: What the pool serves.

    Returns:
        The key and its value, what is wrong, and a way out.
    """
    name = f"{drafter.model}@{drafter.version[:12]}"
    where = f"{key}.model = {name}"
    if drafter.kind == "adapter":
        return f"{where} is an adapter: name a draft model or head"
    made = drafter.speculates
    if made is None:
        if drafter.vocab_size == target.vocab_size:
            return None
        return (
            f"{where} has a vocabulary of {drafter.vocab_size} tokens, and {target.model} has {target.vocab_size}: name"
            " a draft model with the tokenizer of its target"
        )
    if made.method != method:
        return f"{key}.method = {method!r}, and {name} was made for {made.method!r}: set that method"
    again = f"`tidegate models import-speculator SOURCE --target {target.model}`"
    if made.model != target.model:
        return f"{where} drafts for {made.model}, and the pool serves {target.model}: name one of its own ({again})"
    if (made.vocab_size, made.tokenizer_sha256) != (target.vocab_size, target.tokenizer_sha256):
        return (
            f"{where} was made for another tokenizer ({made.vocab_size} tokens) than that of"
            f" {target.model}@{target.version[:12]} ({target.vocab_size} tokens): publish one for this version"
            f" ({again}), or leave {key} out"
        )
    return None


def draft_length(configured: int | None, drafter: Manifest | None) -> int:
    """Draft tokens in each step: what the pool says, else what the speculator says."""
    if configured is not None:
        return configured
    return drafter.speculates.tokens if drafter and drafter.speculates else DEFAULT_TOKENS
