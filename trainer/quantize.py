"""Quantized weights of a model, rounded to nearest: made on a CPU, without data and in seconds.

The files have the format of compressed-tensors, which vLLM and Transformers read. Only the matrices of the layers are
quantized. Embeddings, norms and biases, and the output layer, stay as they are.
"""

import argparse
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.shared.held_out import passages
from services.shared.scratch import scratch
from trainer.checkpoint import Checkpoint, read
from trainer.errors import WrongCheckpoint
from trainer.quiet import quiet, share_cores
from trainer.selection import CONFIG, index_name
from trainer.sources.pick import pick_local
from trainer.sources.source import WrongSource

if TYPE_CHECKING:
    import torch

GROUP = 64
"""Input channels of INT4 that share one scale. The size of SmolLM2's layers is a multiple of 64, and not of 128."""
_QUANTIZED = {"quantization_config", "compression_config"}
"""Keys of config.json, each of which says that the weights are quantized."""
_MATRIX = re.compile(r"(.+\.layers\.\d+\.[a-z_.]+_proj)\.weight")
"""A matrix of a layer, as models of Llama's kind name it. Experts have a number in their name, and do not match."""
_LEFT = ("model.embed_tokens.weight", "lm_head.weight")
"""Matrices that stay as they are."""
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


def quantize(folder: Path, target: Path, precision: Precision) -> None:
    """Writes the quantized model into `target`, one file of weights after another.

    Args:
        folder: A model as save_pretrained writes it, not quantized.
        target: A new or empty folder.
        precision: Of the matrices.

    Raises:
        CannotQuantize: The model is quantized already, or has layers that cannot be quantized here. Nothing is written.
        WrongCheckpoint: `folder` is no complete model.
        OSError: A file cannot be read or written.
    """
    from safetensors.torch import load_file, save_file

    checkpoint = _checked(folder, precision)
    target.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for name in checkpoint.selection.weights:
        made = dict(_quantized(load_file(folder / name), precision))
        save_file(made, target / name, metadata={"format": "pt"})
        places |= dict.fromkeys(made, name)
    if index := index_name(checkpoint.selection.names):
        (target / index).write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=2))
    _write_rest(checkpoint, target, precision)


def quantize_by(make: Callable[[dict[str, Any]], Path], folder: Path, target: Path, precision: Precision) -> None:
    """The same with weights that something else makes, in the same format.

    Args:
        make: Is given the format of the weights in the words of compressed-tensors, and returns a folder with them.
        folder: A model as save_pretrained writes it, not quantized.
        target: A new or empty folder.
        precision: Of the matrices.

    Raises:
        CannotQuantize, WrongCheckpoint, OSError: As `quantize`; and what `make` raises.
    """
    checkpoint = _checked(folder, precision)
    made = make(_FORMATS[precision].weights)
    target.mkdir(parents=True, exist_ok=True)
    names = [file.name for file in made.iterdir()]
    for name in (*(name for name in names if name.endswith(".safetensors")), *filter(None, [index_name(names)])):
        shutil.copyfile(made / name, target / name)
    _write_rest(checkpoint, target, precision)


def _checked(folder: Path, precision: Precision) -> Checkpoint:
    """Raises CannotQuantize, WrongCheckpoint."""
    checkpoint = read(folder)
    if checkpoint.config.document.keys() & _QUANTIZED:
        raise CannotQuantize(f"{folder} is quantized already: quantize the model that it was made from")
    _check([folder / name for name in checkpoint.selection.weights], precision)
    return checkpoint


def _write_rest(checkpoint: Checkpoint, target: Path, precision: Precision) -> None:
    """What is no weights: config.json says how they are quantized, and all else is the model's."""
    selection = checkpoint.selection
    for name in (*selection.tokenizer, *selection.other):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name == CONFIG:
            document = checkpoint.config.document | {"quantization_config": _description(precision)}
            place.write_text(json.dumps(document, indent=2))
        elif name != index_name(selection.names):
            shutil.copyfile(checkpoint.folder / name, place)


def _check(files: Iterable[Path], precision: Precision) -> None:
    """Reads only names and shapes. Raises CannotQuantize for a model that is not one of Llama's kind."""
    from safetensors import safe_open

    found = False
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 -- it is no dict
                found |= _is_quantized(name, opened.get_slice(name).get_shape(), precision)
    if not found:
        raise CannotQuantize("no layer has a matrix named as Llama's kind has them: it cannot be quantized here")


def _is_quantized(name: str, shape: Sequence[int], precision: Precision) -> bool:
    """Whether a tensor will be quantized. Raises CannotQuantize for one that can neither be quantized nor left."""
    if ".experts." in name:
        raise CannotQuantize(f"{name}: models with experts cannot be quantized here")
    if _MATRIX.fullmatch(name) and len(shape) == 2:
        if precision is Precision.INT4 and shape[1] % GROUP:
            raise CannotQuantize(f"{name} has {shape[1]} input channels: INT4 needs a multiple of {GROUP}")
        return True
    if len(shape) > 1 and name not in _LEFT:
        raise CannotQuantize(f"{name} is not named as a matrix of Llama's kind: this model cannot be quantized here")
    return False


def _quantized(tensors: "dict[str, torch.Tensor]", precision: Precision) -> "Iterator[tuple[str, torch.Tensor]]":
    for name, tensor in tensors.items():
        if matrix := _MATRIX.fullmatch(name):
            for part, made in _ROUNDED[precision](tensor.float()).items():
                yield f"{matrix[1]}.{part}", made
        else:
            yield name, tensor


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


_ROUNDED = {Precision.INT8: _int8, Precision.INT4: _int4, Precision.FP8: _fp8}


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
    parser.add_argument(
        "--no-loss",
        action="store_true",
        help="do not measure the loss before and after, which takes four bytes of memory for each parameter",
    )
    options = parser.parse_args()
    try:
        _run(options.source, options.target, options.precision, measure=not options.no_loss)
    except (CannotQuantize, WrongCheckpoint, WrongSource, OSError) as error:
        sys.exit(f"trainer.quantize: {error}")


def _run(source: str, target: Path, precision: Precision, *, measure: bool) -> None:
    if target.exists() and any(target.iterdir()):
        raise CannotQuantize(f"{target} is not empty: name a new folder")
    share_cores()
    quiet()
    with scratch("quantize") as empty:
        folder = pick_local(source).prepare(empty)
        quantize(folder, target, precision)
        if measure:
            before, after = held_out_loss(folder), held_out_loss(target)
            sys.stdout.write(f"held-out loss in nats a token: {before:.4f} before, {after:.4f} after ({precision})\n")


def held_out_loss(folder: Path) -> float:
    """The model's mean loss on a text that it was not trained on, in nats a token, computed in float32.

    Activations are rounded as the format says.
    """
    from trainer.golden import Answerer

    answerer = Answerer.load(folder)
    losses = [loss for passage in passages() for loss in answerer.losses(passage)]
    return math.fsum(losses) / len(losses)


if __name__ == "__main__":
    main()
