"""Quantized weights are near the weights they were made from, and the files say how to read them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainer.errors import WrongCheckpoint
from trainer.quantize import GROUP, CannotQuantize, Precision, quantize

MATRIX = "model.layers.0.mlp.down_proj"
NORM = "model.layers.0.input_layernorm.weight"
EMBEDDINGS = "model.embed_tokens.weight"


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
    target = quantize(folder, tmp_path / "quantized", precision)
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
    target = quantize(folder, tmp_path / "quantized", precision)
    said = json.loads((target / "config.json").read_bytes())["quantization_config"]
    assert (said["quant_method"], said["format"]) == ("compressed-tensors", name)
    assert said["config_groups"]["group_0"]["weights"]["strategy"] == strategy


def test_everything_else_stays_as_it_was(folder: Path, tmp_path: Path) -> None:
    target = quantize(folder, tmp_path / "quantized", Precision.INT8)
    made = load_file(target / "model.safetensors")
    assert {name for name in made if not name.startswith(MATRIX)} == {NORM, EMBEDDINGS}
    assert torch.equal(made[NORM], torch.ones(2 * GROUP))
    assert (target / "tokenizer.json").read_text() == "{}"
    config = json.loads((target / "config.json").read_bytes())
    assert (config["vocab_size"], config["quantization_config"]["ignore"]) == (8, ["lm_head"])


def test_a_quantized_model_is_not_quantized_again(folder: Path, tmp_path: Path) -> None:
    once = quantize(folder, tmp_path / "once", Precision.INT8)
    with pytest.raises(CannotQuantize, match="quantized already"):
        quantize(once, tmp_path / "twice", Precision.INT8)


def test_int4_needs_whole_groups(folder: Path, tmp_path: Path) -> None:
    save(folder, {f"{MATRIX}.weight": torch.ones(8, GROUP + 8)})
    with pytest.raises(CannotQuantize, match=rf"down_proj has {GROUP + 8} input channels.*multiple of {GROUP}"):
        quantize(folder, tmp_path / "quantized", Precision.INT4)


def test_models_with_experts_are_refused(folder: Path, tmp_path: Path) -> None:
    save(folder, {"model.layers.0.mlp.experts.0.down_proj.weight": torch.ones(8, GROUP)})
    with pytest.raises(CannotQuantize, match="experts"):
        quantize(folder, tmp_path / "quantized", Precision.INT8)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongCheckpoint):
        quantize(tmp_path / "empty", tmp_path / "quantized", Precision.INT8)
