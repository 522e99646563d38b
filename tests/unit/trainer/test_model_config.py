"""What no pool could serve is told at import, and code of a model's own never travels."""

import json
from typing import Any

import pytest

from services.shared.architectures import known_architectures
from services.shared.remote_code import code_key
from trainer.errors import WrongCheckpoint
from trainer.model_config import Examined, ModelConfig, examine
from trainer.selection import Selection

CODE = {"auto_map": {"AutoTokenizer": ["x.Y", None]}}


def examined(
    architecture: str, *, tokenizer: tuple[str, ...] = ("tokenizer.json",), others: Any = None, **keys: Any
) -> Examined:
    config = {"architectures": [architecture], "max_position_embeddings": 8, "vocab_size": 8, **keys}
    documents = {"config.json": config, **(others or {})}
    names = tuple(name for name in documents if name not in tokenizer)
    contents = {name: json.dumps(document).encode() for name, document in documents.items()}
    return examine(Selection(("model.safetensors",), tokenizer, names), contents, known_architectures())


@pytest.mark.parametrize(
    ("architecture", "keys", "said"),
    [
        ("BertModel", {"tokenizer": ()}, "no tokenizer"),
        ("WhisperForConditionalGeneration", {"is_encoder_decoder": True}, "encoder and a decoder"),
        ("StableDiffusionPipeline", {}, "no code for StableDiffusionPipeline"),
        ("LlamaForCausalLM", {"tokenizer": ()}, "no tokenizer"),
        (
            "LlamaForCausalLM",
            {"tokenizer": ("tokenizer_config.json",), "others": {"tokenizer_config.json": {}}},
            "no tok",
        ),
        ("BrandNewForCausalLM", CODE, "has none for BrandNewForCausalLM"),
        ("Simulated", {"others": {"processor_config.json": CODE}}, r"processor_config\.json asks for code"),
    ],
)
def test_what_no_pool_could_serve_is_refused(architecture: str, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongCheckpoint, match=said):
        examined(architecture, **keys)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPT2LMHeadModel", "Qwen2_5_VLForConditionalGeneration"])
def test_what_vllm_has_code_for_is_taken_without_a_word(architecture: str) -> None:
    assert examined(architecture).warnings == ()


def test_a_new_model_that_needs_no_code_of_its_own_is_taken_with_a_warning() -> None:
    assert "only if Transformers knows it" in examined("BrandNewForCausalLM").warnings[0]


def test_a_model_that_makes_no_text_is_taken_and_says_how_it_is_served() -> None:
    assert "engine.runner: pooling" in examined("BertModel").warnings[0]
    assert "engine.runner: pooling" in examined("LlamaForCausalLM", others={"modules.json": {}}).warnings[0]


def test_a_draft_model_needs_no_tokenizer() -> None:
    assert examined("EagleLlamaForCausalLM", tokenizer=()).warnings == ()


def test_code_is_dropped_from_every_configuration_at_any_depth() -> None:
    others = {"tokenizer_config.json": {"a": 1, **CODE}, "preprocessor_config.json": {"deep": [CODE]}}
    found = examined("DeepseekV3ForCausalLM", tokenizer=("tokenizer.json", "tokenizer_config.json"), others=others)
    assert set(found.rewritten) == {"tokenizer_config.json", "preprocessor_config.json"}
    assert not [name for name, content in found.rewritten.items() if code_key(json.loads(content))]
    assert json.loads(found.rewritten["tokenizer_config.json"]) == {"a": 1}


def test_a_tokenizer_that_only_its_own_code_could_make_is_refused() -> None:
    others = {"tokenizer_config.json": CODE}
    with pytest.raises(WrongCheckpoint, match=r"save the tokenizer as tokenizer\.json"):
        examined("DeepseekV3ForCausalLM", tokenizer=("tiktoken.model", "tokenizer_config.json"), others=others)


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        (None, None),
        ("wrong", None),
        ({"quant_method": "awq", "bits": 4}, 4),
        ({"quant_method": "gptq", "bits": 8}, 8),
        ({"quant_method": "mxfp4"}, 4),
        ({"quant_method": "x", "bits": "four"}, 4),
        ({"config_groups": {"a": {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 2}}}}, 8),
        ({"config_groups": {"a": {"weights": {"num_bits": 8}}, "b": {"weights": {"num_bits": 3}}}}, 3),
        ({"config_groups": ["wrong"]}, 4),
    ],
)
def test_the_bits_of_packed_weights_are_found(quantization: object, bits: int | None) -> None:
    assert ModelConfig({"quantization_config": quantization}).packed_bits == bits
