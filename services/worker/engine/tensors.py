"""Names and shapes of a checkpoint's tensors; only the headers of the safetensors files are read."""

from pathlib import Path

from services.shared.safetensors_header import DamagedTensors, read_tensors

Shape = tuple[int, ...]


class UnreadableTensors(Exception):
    """A file is damaged or is no safetensors file; the message names it."""


def shapes(folder: Path) -> dict[str, Shape]:
    """Returns the shape of each tensor in the folder's safetensors files.

    Raises:
        UnreadableTensors: A file cannot be read.
    """
    found: dict[str, Shape] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found.update({tensor.name: tensor.shape for tensor in read_tensors(file)})
        except (DamagedTensors, OSError) as error:
            raise UnreadableTensors(f"{file.name}: {error}") from None
    return found


def difference(old: dict[str, Shape], new: dict[str, Shape]) -> str | None:
    """Describes the first tensor that is missing, new or of another shape; returns None when all are the same."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            return f"tensor {name} is {_describe(after)}, the engine runs {_describe(before)}"
    return None


def _describe(shape: Shape | None) -> str:
    return "missing" if shape is None else f"{list(shape)}"
