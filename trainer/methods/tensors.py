"""The tensors of a model on disk, read one at a time, and a model like it, written one tensor at a time."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from services.shared.safetensors_header import LENGTH_BYTES, Tensor, header_length, read_tensors
from trainer.checkpoint import Checkpoint

_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Make = Callable[[str], torch.Tensor]
"""Makes the tensor of a name, in float32."""


class Tensors:
    """The tensors of a model. One at a time is in memory; files are read where a tensor lies."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.files = {name: read_tensors(checkpoint.folder / name) for name in checkpoint.selection.weights}
        self._file = {tensor.name: file for file, tensors in self.files.items() for tensor in tensors}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by its name."""
        return {tensor.name: tensor.shape for tensors in self.files.values() for tensor in tensors}

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is on disk."""
        with safe_open(self.checkpoint.folder / self._file[name], framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        return tensor


def write_like(base: Tensors, target: Path, make: Make) -> None:
    """Writes weights with the names, shapes, precisions and files of the base's.

    Args:
        base: Of a model. Tensors that are no floats are copied.
        target: Folder for the files.
        make: Makes each other tensor.

    Raises:
        OSError: A file cannot be written.
    """
    for file, tensors in base.files.items():
        with (base.checkpoint.folder / file).open("rb") as source, (target / file).open("wb") as out:
            start = source.read(LENGTH_BYTES)
            out.write(start + source.read(header_length(start)))
            for tensor in sorted(tensors, key=lambda tensor: tensor.start):
                out.write(_bytes(_made(tensor, base, make)))


def _made(tensor: Tensor, base: Tensors, make: Make) -> torch.Tensor:
    if (precision := _FLOATS.get(tensor.precision)) is None:
        return base.read(tensor.name)
    return make(tensor.name).to(precision)


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
