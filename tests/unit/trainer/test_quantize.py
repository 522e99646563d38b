"""Quantized weights are near the weights they were made from, and the files say how to read them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer.checkpoint import read
from trainer.errors import WrongCheckpoint
from trainer.quantize import GROUP, CannotQuantize, Precision, quantize

MATRIX = "model.layers.0.mlp.down_proj"
NORM = "model.layers.0.input_layernorm.weight"
EMBEDDINGS = "model.embed_tokens.weight"
PARTS_OF_INT4 = ("weight_packed", "weight_scale", "weight_shape")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint with one matrix; its third row is zeros."""
    made = tmp_path / "model"
    made.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "max_position_embeddings": 64}
    (made / "config.json").write_text(json.dumps(config))
    (made / "tokenizer.json").write_text("{}")
    save(made, {f"{MATRIX}.weight": matrix(), NORM: torch.ones(2 * GROUP), EMBEDDINGS: torch.ones(8, 2 * GROUP)})
    return made


def quantized(folder: Path, target: Path, precision: Precision) -> Path:
    quantize(folder, target, precision)
    return target


def matrix() -> torch.Tensor:
    values = torch.randn(16, 2 * GROUP, generator=torch.Generator().manual_seed(3))
    values[2] = 0
    return values.to(torch.bfloat16)


def save(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("precision", "error"), [(Precision.INT8, 0.5 / 127), (Precision.FP8, 2**-4), (Precision.INT4, 0.51 / 7)]
)
def test_the_numbers_times_their_scales_are_nearly_the_matrix(
    folder: Path, tmp_path: Path, precision: Precision, error: float
) -> None:
    target = quantized(folder, tmp_path / "quantized", precision)
    made = load_file(target / "model.safetensors")
    parts = {name.rpartition(".")[2]: tensor for name, tensor in made.items() if name.startswith(MATRIX)}
    read = unpacked(parts) if precision is Precision.INT4 else parts["weight"].float() * parts["weight_scale"]
    wanted = matrix().float()
    largest = wanted.abs().amax(dim=1, keepdim=True)
    # The scales of INT4 are bfloat16.
    assert ((read - wanted).abs() <= largest * error + largest * 2**-8).all()
    assert not read[2].any()


def unpacked(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """INT4 as the format has it: eight numbers in an int32, the first one lowest, and 8 is zero."""
    nibbles = (parts["weight_packed"].long().unsqueeze(-1) >> torch.arange(0, 32, 4)) & 15
    numbers = nibbles.flatten(1) - 8
    assert list(numbers.shape) == parts["weight_shape"].tolist()
    return numbers * parts["weight_scale"].float().repeat_interleave(GROUP, dim=1)


@pytest.mark.parametrize(
    ("precision", "name", "strategy"),
    [
        (Precision.INT8, "int-quantized", "channel"),
        (Precision.FP8, "float-quantized", "channel"),
        (Precision.INT4, "pack-quantized", "group"),
    ],
)
def test_the_configuration_names_the_format(
    folder: Path, tmp_path: Path, precision: Precision, name: str, strategy: str
) -> None:
    target = quantized(folder, tmp_path / "quantized", precision)
    said = json.loads((target / "config.json").read_bytes())["quantization_config"]
    assert (said["quant_method"], said["format"]) == ("compressed-tensors", name)
    assert said["config_groups"]["group_0"]["weights"]["strategy"] == strategy


def test_everything_else_stays_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = quantized(folder, tmp_path / "quantized", Precision.INT8)
    made = load_file(target / "model.safetensors")
    assert {name for name in made if not name.startswith(MATRIX)} == {NORM, EMBEDDINGS}
    assert torch.equal(made[NORM], torch.ones(2 * GROUP))
    assert (target / "tokenizer.json").read_text() == "{}"
    config = json.loads((target / "config.json").read_bytes())
    assert (config["vocab_size"], config["quantization_config"]["ignore"]) == (8, ["lm_head"])


def test_a_quantized_model_is_not_quantized_again(folder: Path, tmp_path: Path) -> None:
    once = quantized(folder, tmp_path / "once", Precision.INT8)
    with pytest.raises(CannotQuantize, match="quantized already"):
        quantize(once, tmp_path / "twice", Precision.INT8)


def test_int4_needs_whole_groups(folder: Path, tmp_path: Path) -> None:
    save(folder, {f"{MATRIX}.weight": torch.ones(8, GROUP + 8)})
    with pytest.raises(CannotQuantize, match=rf"down_proj.weight has {GROUP + 8} input channels.*multiple of {GROUP}"):
        quantize(folder, tmp_path / "quantized", Precision.INT4)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("model.layers.0.mlp.experts.0.down_proj.weight", (8, GROUP), "experts"),
        ("transformer.h.0.attn.c_attn.weight", (8, GROUP), "c_attn.weight is not named as a matrix of Llama's kind"),
        ("model.layers.0.mlp.experts.gate_up_proj", (2, 8, GROUP), "experts"),
        ("model.norm.weight", (8,), "no layer has a matrix"),
    ],
)
def test_a_model_of_another_kind_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, name: str, shape: tuple[int, ...], message: str
) -> None:
    save(folder, {name: torch.ones(shape)})
    with pytest.raises(CannotQuantize, match=message):
        quantize(folder, tmp_path / "quantized", Precision.INT8)
    assert not (tmp_path / "quantized").exists()


def test_the_index_of_several_files_names_the_new_tensors(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    files = {"model-00001-of-00002.safetensors": f"{MATRIX}.weight", "model-00002-of-00002.safetensors": NORM}
    for file, name in files.items():
        save_file({name: matrix()} if name != NORM else {name: torch.ones(2)}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, name in files.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    target = quantized(folder, tmp_path / "quantized", Precision.INT4)
    assert json.loads((target / "model.safetensors.index.json").read_bytes())["weight_map"] == {
        **{f"{MATRIX}.{part}": "model-00001-of-00002.safetensors" for part in PARTS_OF_INT4},
        NORM: "model-00002-of-00002.safetensors",
    }
    read(target)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongCheckpoint):
        quantize(tmp_path / "empty", tmp_path / "quantized", Precision.INT8)
