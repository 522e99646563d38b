"""Quantized weights of a model, rounded to nearest: made on a CPU, without data and in seconds.

The files have the format of compressed-tensors, which vLLM and Transformers read. Only the matrices of the layers are
quantized. Embeddings, norms and biases, and the output layer, stay as they are.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.shared.scratch import scratch
from trainer.checkpoint import read
from trainer.errors import WrongCheckpoint
from trainer.sources.pick import pick_local
from trainer.sources.source import WrongSource

if TYPE_CHECKING:
    import torch

GROUP = 64
"""Input channels of INT4 that share one scale. The size of SmolLM2's layers is a multiple of 64, and not of 128."""
_CONFIG = "config.json"
_MATRIX = re.compile(r"(.+\.layers\.\d+\.[a-z_.]+_proj)\.weight")
"""A matrix of a layer, as models of Llama's kind name it. Experts have a number in their name, and do not match."""
_INT4_A_WORD = 8
"""Numbers of four bits in an int32, the first one in the lowest bits."""
_FP8_MAX = 448.0
"""The largest number of E4M3."""


class Precision(StrEnum):
    """What the matrices are rounded to.

    int8: 8 bits, a scale for each output channel; activations are rounded to 8 bits too, each token alone (W8A8).
    int4: 4 bits, a scale for GROUP input channels of each output channel; activations stay as they are (W4A16).
    fp8: E4M3, a scale for each output channel; activations too, each token alone.
    """

    INT8 = "int8"
    INT4 = "int4"
    FP8 = "fp8"


class CannotQuantize(Exception):
    """The model cannot be quantized this way; the message says why."""


@dataclass(frozen=True, slots=True)
class _Format:
    """How compressed-tensors calls a precision in config.json."""

    name: str
    weights: dict[str, Any]
    activations: dict[str, Any] | None


_CHANNEL = {"symmetric": True, "strategy": "channel", "dynamic": False}
_TOKEN = {"symmetric": True, "strategy": "token", "dynamic": True}
_FORMATS = {
    Precision.INT8: _Format(
        "int-quantized", {"num_bits": 8, "type": "int", **_CHANNEL}, {"num_bits": 8, "type": "int", **_TOKEN}
    ),
    Precision.INT4: _Format(
        "pack-quantized",
        {
            "num_bits": 4,
            "type": "int",
            "symmetric": True,
            "strategy": "group",
            "group_size": GROUP,
            "dynamic": False,
        },
        None,
    ),
    Precision.FP8: _Format(
        "float-quantized", {"num_bits": 8, "type": "float", **_CHANNEL}, {"num_bits": 8, "type": "float", **_TOKEN}
    ),
}


def quantize(folder: Path, target: Path, precision: Precision) -> Path:
    """Writes the quantized model into `target`, one file of weights after another.

    Args:
        folder: A model as save_pretrained writes it, not quantized.
        target: A new or empty folder.
        precision: Of the matrices.

    Returns:
        `target`.

    Raises:
        CannotQuantize: The model is quantized already, or a matrix does not divide into groups.
        WrongCheckpoint: `folder` is no complete model.
        OSError: A file cannot be read or written.
    """
    from safetensors.torch import load_file, save_file

    checkpoint = read(folder)
    config = json.loads((folder / _CONFIG).read_bytes())
    if "quantization_config" in config:
        raise CannotQuantize(f"{folder} is quantized already: quantize the model that it was made from")
    target.mkdir(parents=True, exist_ok=True)
    for name in checkpoint.selection.names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            made = dict(_quantized(load_file(folder / name), precision))
            save_file(made, place, metadata={"format": "pt"})
        elif name != _CONFIG:
            shutil.copyfile(folder / name, place)
    (target / _CONFIG).write_text(json.dumps(config | {"quantization_config": _description(precision)}, indent=2))
    return target


def _quantized(tensors: "dict[str, torch.Tensor]", precision: Precision) -> "Iterator[tuple[str, torch.Tensor]]":
    for name, tensor in tensors.items():
        if matrix := _MATRIX.fullmatch(name):
            for part, made in _rounded(matrix[1], tensor.float(), precision).items():
                yield f"{matrix[1]}.{part}", made
        elif ".experts." in name:
            raise CannotQuantize(f"{name}: models with experts cannot be quantized here")
        else:
            yield name, tensor


def _rounded(name: str, matrix: "torch.Tensor", precision: Precision) -> "dict[str, torch.Tensor]":
    match precision:
        case Precision.INT8:
            return _int8(matrix)
        case Precision.FP8:
            return _fp8(matrix)
        case Precision.INT4:
            if matrix.shape[1] % GROUP:
                raise CannotQuantize(f"{name} has {matrix.shape[1]} input channels: INT4 needs a multiple of {GROUP}")
            return _int4(matrix)


def _int8(matrix: "torch.Tensor") -> "dict[str, torch.Tensor]":
    """-127 to 127, so that zero is exact and both signs reach as far."""
    import torch

    scale = _scale(matrix, 127)
    return {"weight": (matrix / scale).round().to(torch.int8), "weight_scale": scale}


def _fp8(matrix: "torch.Tensor") -> "dict[str, torch.Tensor]":
    import torch

    scale = _scale(matrix, _FP8_MAX)
    return {"weight": (matrix / scale).to(torch.float8_e4m3fn), "weight_scale": scale}


def _int4(matrix: "torch.Tensor") -> "dict[str, torch.Tensor]":
    """-7 to 7 and 8 more, so that each is 1 to 15: four bits without a sign."""
    import torch

    rows, columns = matrix.shape
    groups = matrix.reshape(rows, columns // GROUP, GROUP)
    scale = _scale(groups, 7)
    numbers = ((groups / scale).round() + 8).to(torch.int64).reshape(rows, columns // _INT4_A_WORD, _INT4_A_WORD)
    words = (numbers << torch.arange(0, 4 * _INT4_A_WORD, 4)).sum(-1)
    # Beyond 31 bits int32 counts on from its lowest number.
    words = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return {
        "weight_packed": words.to(torch.int32),
        "weight_scale": scale.squeeze(-1).to(torch.bfloat16),
        "weight_shape": torch.tensor([rows, columns]),
    }


def _scale(numbers: "torch.Tensor", most: float) -> "torch.Tensor":
    """What the largest of each row is divided by, so that it becomes `most`; rows of zeros stay zeros."""
    return numbers.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / most


def _description(precision: Precision) -> dict[str, Any]:
    """`quantization_config` of config.json."""
    form = _FORMATS[precision]
    group = {"targets": ["Linear"], "weights": form.weights, "input_activations": form.activations}
    return {
        "quant_method": "compressed-tensors",
        "format": form.name,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        # The output layer, where the embeddings do not serve as one.
        "ignore": ["lm_head"],
    }


def main() -> None:
    """Runs the command; an error ends it with a message."""
    parser = argparse.ArgumentParser(prog="python -m trainer.quantize", description=__doc__)
    parser.add_argument("source", help="folder of a model, a .gguf file, or smollm2-135m-instruct")
    parser.add_argument("target", type=Path, help="folder for the quantized model; new or empty")
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.INT8)
    options = parser.parse_args()
    try:
        _quantize_source(options.source, options.target, options.precision)
    except (CannotQuantize, WrongCheckpoint, WrongSource, OSError) as error:
        sys.exit(f"trainer.quantize: {error}")


def _quantize_source(source: str, target: Path, precision: Precision) -> None:
    if target.exists() and any(target.iterdir()):
        raise CannotQuantize(f"{target} is not empty: name a new folder")
    with scratch("quantize") as empty:
        quantize(pick_local(source).prepare(empty), target, precision)


if __name__ == "__main__":
    main()
