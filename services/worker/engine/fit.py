"""Whether the tensors of a checkpoint fit its configuration. Pure; names and shapes are enough.

Only what is sure is told: an engine could load no such checkpoint, in place or at its start. A model whose layers are
named in another way than those below passes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.worker.engine.tensors import Shape

_LAYER = re.compile(r"^(?:model|transformer)\.(?:layers|h)\.(\d+)\.")
_EMBEDDING = re.compile(r"^(?:model\.embed_tokens|transformer\.wte)\.weight$")
_MATRIX = re.compile(r"^model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)\.weight$")
# Families whose layers are all alike, with matrices of the sizes that Llama's have.
_ALIKE = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
# Tensors that some checkpoints have and engines compute or tie.
_SPARE = re.compile(r"^lm_head\.|rotary|inv_freq|\.attn\.(?:masked_)?bias$")


def misfit(config: Mapping[str, Any], tensors: Mapping[str, Shape]) -> str | None:
    """Describes the first tensor that does not fit the configuration; None when none is known not to.

    Args:
        config: Content of config.json.
        tensors: Shapes of the checkpoint's tensors.
    """
    if "text_config" in config or "quantization_config" in config:
        return None  # the tensors are named, or packed, in many ways
    return next(_misfits(config, tensors), None)


def unlike(old: Mapping[str, Shape], new: Mapping[str, Shape]) -> str | None:
    """Describes why a checkpoint cannot have the configuration of another that is known to be right.

    Args:
        old: Shapes of a checkpoint that an engine has loaded.
        new: Shapes of a checkpoint with the same configuration.
    """
    for name in sorted(old):
        if name not in new and not _SPARE.search(name):
            return f"tensor {name} is missing"
        if name in new and old[name] != new[name]:
            return f"tensor {name} is {list(new[name])}, its config.json asks for {list(old[name])}"
    return None


def _misfits(config: Mapping[str, Any], tensors: Mapping[str, Shape]) -> Iterator[str]:
    yield from _layers(config, tensors)
    sizes = _matrices(config)
    embedding = (config.get("vocab_size"), config.get("hidden_size") or config.get("n_embd"))
    for name, shape in tensors.items():
        wanted: tuple[Any, ...] | None = None
        if _EMBEDDING.search(name) and "word_embed_proj_dim" not in config:
            wanted = embedding
        elif found := _MATRIX.search(name):
            wanted = sizes.get(found[1])
        if wanted and all(isinstance(size, int) for size in wanted) and shape != wanted:
            yield f"tensor {name} is {list(shape)}, config.json asks for {list(wanted)}"


def _layers(config: Mapping[str, Any], tensors: Mapping[str, Shape]) -> Iterator[str]:
    there = {int(found[1]) for name in tensors if (found := _LAYER.search(name))}
    count = config.get("num_hidden_layers") or config.get("n_layer")
    if not there or not isinstance(count, int):
        return
    if missing := set(range(count)) - there:
        yield f"layer {min(missing)} of {count} is missing"
    drafting = config.get("num_nextn_predict_layers") or 0
    if isinstance(drafting, int) and max(there) >= count + drafting:
        yield f"there is a layer {max(there)}, config.json asks for {count}"


def _matrices(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    if not _ALIKE & set(config.get("architectures") or ()):
        return {}
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    between, shared = config.get("intermediate_size"), config.get("num_key_value_heads") or heads
    if not (isinstance(hidden, int) and isinstance(heads, int) and isinstance(shared, int) and heads > 0):
        return {}
    head = config.get("head_dim") or hidden // heads
    queries, keys = (heads * head, hidden), (shared * head, hidden)
    return {
        "q_proj": queries,
        "k_proj": keys,
        "v_proj": keys,
        "o_proj": queries[::-1],
        "gate_proj": (between, hidden),
        "up_proj": (between, hidden),
        "down_proj": (hidden, between),
    }
