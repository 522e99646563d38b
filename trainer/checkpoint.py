"""A checkpoint on disk: the files of its model, checked, and what its configuration says of it."""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.shared.architectures import known_architectures
from services.shared.safetensors_header import DamagedTensors, read_tensors
from trainer.errors import WrongCheckpoint
from trainer.model_config import ModelConfig, documents_of, examine
from trainer.selection import Selection, index_name, select, weight_map
from trainer.weights import not_finite, not_finite_text, numbers_of

CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of a model in `folder`.

    Attributes:
        folder: Where they lie.
        selection: Their names, by kind.
        config: config.json.
        rewritten: Files that are published with another content than they have in the folder.
        warnings: What people should know.
    """

    folder: Path
    selection: Selection
    config: ModelConfig
    rewritten: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum((self.folder / name).stat().st_size for name in self.selection.names)

    @property
    def float32_size(self) -> int:
        """Bytes of the weights when they are loaded in float32; quantized ones take as much as others then."""
        bits = self.config.packed_bits
        return 4 * sum(numbers_of(self.folder / name, bits) for name in self.selection.weights)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a file as it is published."""
        if name in self.rewritten:
            yield self.rewritten[name]
            return
        async for chunk in Folder(self.folder).read(name):
            yield chunk


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of a local folder, as they are published."""

    path: Path

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The content of a file, in chunks."""
        with (self.path / name).open("rb") as opened:
            while chunk := opened.read(CHUNK_BYTES):
                yield chunk


def read(folder: Path, *, scores: bool = False) -> Checkpoint:
    """Selects the folder's files and checks them. Reads all weights.

    Args:
        folder: Of a model.
        scores: Whether it may be a reward model, which no pool serves.

    Raises:
        WrongCheckpoint: The files are no checkpoint that may be published.
    """
    names = _names(folder)
    index = index_name(names)
    tensors = weight_map(index, (folder / index).read_bytes()) if index else {}
    selection = select(names, (index, set(tensors.values())) if index else None)
    present = [name for name in documents_of(selection) if name in names]
    contents = {name: (folder / name).read_bytes() for name in present}
    found = examine(selection, contents, known_architectures(), scores=scores)
    _check_shards(folder, selection, index or "", tensors)
    return Checkpoint(folder, selection, found.config, found.rewritten, found.warnings)


def _names(folder: Path) -> set[str]:
    """Files of the folder and of the folders in it, no deeper: nothing that is taken lies there."""
    found: set[str] = set()
    for entry in os.scandir(folder):
        if entry.is_file():
            found.add(entry.name)
        elif entry.is_dir():
            found |= {f"{entry.name}/{inner.name}" for inner in os.scandir(entry) if inner.is_file()}
    return found


def _check_shards(folder: Path, selection: Selection, index: str, tensors: Mapping[str, str]) -> None:
    """Each weight file parses, and together they hold every tensor that the index names."""
    held = {name: check_weights(folder / name) for name in selection.weights}
    for tensor, shard in tensors.items():
        if tensor not in held[shard]:
            raise WrongCheckpoint(f"{index} looks for {tensor} in {shard}, which does not hold it")


def check_weights(file: Path) -> frozenset[str]:
    """Names of a file's tensors. Reads all of it. Raises WrongCheckpoint for one that is cut off or not finite."""
    names = _tensors(file)
    if tensor := not_finite(file):
        raise WrongCheckpoint(not_finite_text(file.name, tensor))
    return names


def _tensors(file: Path) -> frozenset[str]:
    try:
        return frozenset(tensor.name for tensor in read_tensors(file))
    except DamagedTensors as error:
        raise WrongCheckpoint(f"{file.name} is not a whole safetensors file: {error}") from None
