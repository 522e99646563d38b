"""Folders of adapters that may be published, and what each refusal names."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trainer.adapters import check_adapter
from trainer.errors import WrongCheckpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save(tmp_path, {"a.q_proj.lora_A.weight": torch.zeros(2, 4), "a.q_proj.lora_B.weight": torch.zeros(4, 2)})
    return tmp_path


def save(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "adapter_model.safetensors")


def test_what_peft_writes_is_taken(folder: Path) -> None:
    for name in ("README.md", "tokenizer.json", "special_tokens_map.json", ".gitattributes", "LICENSE"):
        (folder / name).write_text("{}")
    check_adapter(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("adapter_model.bin", "x", "adapter_model.bin can run code"),
        ("optimizer.pt", "x", "optimizer.pt can run code"),
        ("weights.gguf", "x", "weights.gguf does not belong"),
        ("adapter_config.json", '{"peft_type": "LOHA"}', "peft_type is 'LOHA'"),
        ("adapter_config.json", "[", "is not JSON"),
        ("adapter_model.safetensors", "short", "not a whole safetensors file"),
    ],
)
def test_a_file_that_cannot_be_published_is_named(folder: Path, name: str, content: str, words: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(WrongCheckpoint, match=words):
        check_adapter(folder)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a.lm_head.weight": torch.zeros(2)}, "a.lm_head.weight is no LoRA tensor"),
        ({"a.q_proj.lora_magnitude_vector": torch.zeros(2)}, "is no LoRA tensor"),
        ({"a.q_proj.lora_A.weight": torch.tensor([float("nan")])}, "NaN or infinity"),
        ({}, "holds no tensor"),
    ],
)
def test_a_tensor_that_cannot_be_served_is_named(folder: Path, tensors: dict[str, torch.Tensor], words: str) -> None:
    save(folder, tensors)
    with pytest.raises(WrongCheckpoint, match=words):
        check_adapter(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(WrongCheckpoint, match=r"adapter_model\.safetensors is missing"):
        check_adapter(folder)
