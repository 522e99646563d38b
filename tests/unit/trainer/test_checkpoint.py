import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trainer.checkpoint import read
from trainer.errors import WrongCheckpoint
from trainer.sources.simulated import SimulatedModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return SimulatedModel().prepare(tmp_path)


def change_config(folder: Path, **keys: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def test_files_are_sorted_by_kind_and_strangers_left_out(folder: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "README.md", ".gitattributes"):
        (folder / name).write_text("{}")
    found = read(folder)
    assert found.selection.weights == ("model.safetensors",)
    assert found.selection.tokenizer == ("chat_template.jinja", "tokenizer.json")
    assert found.selection.other == ("config.json", "generation_config.json")
    assert (found.config.architecture, found.config.vocab_size) == ("Simulated", 32_768)


CAN_RUN_CODE = ["pytorch_model.bin", "a.pt", "a.PTH", "a.pkl", "modeling_x.py", "a.ckpt", "tf.h5"]


@pytest.mark.parametrize("name", CAN_RUN_CODE)
def test_what_could_run_code_is_never_taken(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert name not in read(folder).selection.names


@pytest.mark.parametrize("name", [name for name in CAN_RUN_CODE if not name.endswith(".py")])
def test_weights_that_could_run_code_are_refused_by_name(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(WrongCheckpoint, match=rf"{name} can run code .* only safetensors"):
        read(folder)


def test_files_in_folders_travel_with_the_folder_in_their_name(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    assert "additional_chat_templates/tool_use.jinja" in read(folder).selection.names


async def test_code_is_dropped_where_vllm_has_its_own(folder: Path) -> None:
    change_config(folder, architectures=["DeepseekV3ForCausalLM"], auto_map={"A": "x--y"}, deep=[{"auto_map": 1}])
    (folder / "tokenizer.json").write_text("{}")
    found = read(folder)
    assert [text for text in found.warnings if "auto_map" in text]
    published = b"".join([chunk async for chunk in found.read("config.json")])
    assert b"auto_map" not in published
    assert b"auto_map" in (folder / "config.json").read_bytes()
    assert json.loads(published)["architectures"] == ["DeepseekV3ForCausalLM"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_by_reference_is_refused(folder: Path, name: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / name).write_text(json.dumps({**config, "auto_map": {"AutoModel": "x--y"}}))
    with pytest.raises(WrongCheckpoint, match=f"{name} .*auto_map"):
        read(folder)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architectures": []}, "architectures"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
    ],
)
def test_a_config_without_what_is_needed_is_refused(folder: Path, keys: dict[str, Any], said: str) -> None:
    change_config(folder, **keys)
    with pytest.raises(WrongCheckpoint, match=said):
        read(folder)


def test_figures_of_a_nested_language_model_are_found(folder: Path) -> None:
    change_config(folder, vocab_size=None, text_config={"vocab_size": 99})
    assert read(folder).config.vocab_size == 99


def test_missing_parts_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(WrongCheckpoint, match=r"no \.safetensors"):
        read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WrongCheckpoint, match=r"config\.json is missing"):
        read(folder)


def test_cut_off_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(WrongCheckpoint, match=r"model\.safetensors is not a whole"):
        read(folder)


@pytest.mark.parametrize(
    ("precision", "value"),
    [
        *((name, value) for name in ("float16", "bfloat16", "float32", "float64") for value in ("nan", "inf", "-inf")),
        *(("float8_e5m2", value) for value in ("nan", "inf")),
        ("float8_e4m3fn", "nan"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(folder: Path, precision: str, value: str) -> None:
    kind = getattr(torch, precision)
    good = torch.tensor([0.0, -1.0, torch.finfo(kind).max, torch.finfo(kind).min], dtype=torch.float64).to(kind)
    save_file({"good": good, "ids": torch.tensor([-1])}, folder / "model.safetensors", metadata={"format": "pt"})
    assert read(folder).selection.weights
    bad = torch.tensor([0.0, float(value)]).to(kind)
    save_file({"good": good, "bad": bad}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongCheckpoint, match=r"model\.safetensors: bad holds NaN or infinity"):
        read(folder)


def test_a_header_with_too_many_tensors_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.shared.safetensors_header.MAX_TENSORS", 0)
    with pytest.raises(WrongCheckpoint, match="holds 1 tensors, more than 0"):
        read(folder)


def test_a_tensor_that_no_shard_holds_is_named(folder: Path) -> None:
    index = {"weight_map": {"weights": "model.safetensors", "lost": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WrongCheckpoint, match="lost"):
        read(folder)
