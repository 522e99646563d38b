from typing import Any

import pytest

from services.worker.engine.fit import misfit, unlike
from services.worker.engine.tensors import Shape

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 20,
}


def tensors() -> dict[str, Shape]:
    found: dict[str, Shape] = {
        "model.embed_tokens.weight": (20, 8),
        "model.norm.weight": (8,),
        "lm_head.weight": (20, 8),
    }
    for layer in range(2):
        for name, shape in {
            "self_attn.q_proj": (8, 8),
            "self_attn.k_proj": (4, 8),
            "self_attn.o_proj": (8, 8),
            "mlp.up_proj": (12, 8),
            "mlp.down_proj": (8, 12),
        }.items():
            found[f"model.layers.{layer}.{name}.weight"] = shape
    return found


def without(name: str) -> dict[str, Shape]:
    return {other: shape for other, shape in tensors().items() if not other.startswith(name)}


def test_a_whole_checkpoint_fits() -> None:
    assert misfit(CONFIG, tensors()) is None
    assert misfit(CONFIG | {"head_dim": 2}, tensors()) is None
    assert unlike(tensors(), tensors()) is None


@pytest.mark.parametrize(
    ("config", "found", "said"),
    [
        ({"num_hidden_layers": 3}, tensors(), "layer 2 of 3 is missing"),
        ({"num_hidden_layers": 1}, tensors(), "there is a layer 1, config.json asks for 1"),
        ({}, without("model.layers.0."), "layer 0 of 2 is missing"),
        ({"vocab_size": 21}, tensors(), r"model.embed_tokens.weight is [20, 8], config.json asks for [21, 8]"),
        ({"intermediate_size": 16}, tensors(), "mlp.up_proj.weight is [12, 8], config.json asks for [16, 8]"),
        ({"head_dim": 4}, tensors(), "self_attn.q_proj.weight is [8, 8], config.json asks for [16, 8]"),
    ],
)
def test_what_does_not_fit_is_named(config: dict[str, Any], found: dict[str, Shape], said: str) -> None:
    assert said in str(misfit(CONFIG | config, found))


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 1, "num_nextn_predict_layers": 1},
        {"quantization_config": {"bits": 4}, "intermediate_size": 1},
        {"architectures": ["OpenELMForCausalLM"], "intermediate_size": 1},
        {"text_config": {"vocab_size": 1}, "vocab_size": 1},
        {"hidden_size": "eight"},
    ],
)
def test_what_is_not_sure_passes(config: dict[str, Any]) -> None:
    assert misfit(CONFIG | config, tensors()) is None


def test_with_the_same_configuration_all_tensors_must_be_there() -> None:
    assert unlike(tensors(), without("lm_head")) is None
    assert unlike(tensors(), tensors() | {"model.rotary.inv_freq": (4,)}) is None
    assert unlike(tensors(), without("model.norm")) == "tensor model.norm.weight is missing"
    other = tensors() | {"model.norm.weight": (9,)}
    assert unlike(tensors(), other) == "tensor model.norm.weight is [9], its config.json asks for [8]"
