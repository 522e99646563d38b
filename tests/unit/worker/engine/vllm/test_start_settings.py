"""What counts as another setting of a model."""

import json
from pathlib import Path

import pytest

from services.worker.engine.vllm.start_settings import changed_setting

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "bfloat16",
}
ENDS = {"bos_token_id": 1, "eos_token_id": [2]}


def folder(parent: Path, name: str, config: dict[str, object], generation: dict[str, object] | None = None) -> Path:
    made = parent / name
    made.mkdir()
    (made / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (made / "generation_config.json").write_text(json.dumps(generation))
    return made


@pytest.mark.parametrize(
    "change",
    [
        {"rms_norm_eps": 1e-6},  # the default value, written out
        {"transformers_version": "9.9", "use_cache": False, "_name_or_path": "somewhere"},
        {"torch_dtype": "bfloat16"},  # the older name
    ],
)
def test_what_changes_no_answer_is_no_difference(tmp_path: Path, change: dict[str, object]) -> None:
    old = folder(tmp_path, "old", LLAMA, ENDS)
    new = folder(tmp_path, "new", dict(reversed((LLAMA | change).items())), ENDS | {"transformers_version": "9.9"})
    assert changed_setting(old, new) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rope_theta": 5e5}, "rope_parameters is"),
        ({"dtype": "float32"}, "dtype is"),
        ({"max_position_embeddings": 64}, "max_position_embeddings is 64, this engine runs 2048"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config is"),
    ],
)
def test_another_setting_of_the_model_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    difference = changed_setting(folder(tmp_path, "old", LLAMA), folder(tmp_path, "new", LLAMA | change))
    assert difference
    assert difference.startswith(f"config.json: {named}")


def test_another_setting_of_the_answers_is_named(tmp_path: Path) -> None:
    old = folder(tmp_path, "old", LLAMA, ENDS)
    new = folder(tmp_path, "new", LLAMA, {"bos_token_id": 1, "eos_token_id": [2, 28]})
    assert changed_setting(old, new) == "generation_config.json: eos_token_id is [2, 28], this engine runs [2]"
    warmer = folder(tmp_path, "warmer", LLAMA, ENDS | {"temperature": 0.6})
    assert changed_setting(old, warmer) == "generation_config.json: temperature is 0.6, this engine runs None"


def test_settings_of_answers_may_stand_in_the_models_own(tmp_path: Path) -> None:
    old = folder(tmp_path, "old", LLAMA, {"bos_token_id": 1, "eos_token_id": 2})
    assert changed_setting(old, folder(tmp_path, "new", LLAMA)) is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    old, new = folder(tmp_path, "old", LLAMA), folder(tmp_path, "new", LLAMA)
    (new / "config.json").write_text("{")
    with pytest.raises((OSError, ValueError)):
        changed_setting(old, new)
