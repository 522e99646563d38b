"""Names and shapes of a checkpoint's tensors, from the headers of its safetensors files; the tensors are not read."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

Shape = tuple[int, ...]


class UnreadableTensors(Exception):
    """A file is no whole safetensors file; the message names it."""


def shapes(folder: Path) -> dict[str, Shape]:
    """Raises UnreadableTensors."""
    found: dict[str, Shape] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as opened:
                found.update({name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UnreadableTensors(f"{file.name}: {error}") from None
    return found


def difference(old: dict[str, Shape], new: dict[str, Shape]) -> str | None:
    """The first tensor that is missing, new or of another shape, in words; None when there is none."""
    for name in sorted(old.keys() | new.keys()):
        was, wanted = old.get(name), new.get(name)
        if was != wanted:
            return f"tensor {name} is {_words(wanted)}, the engine runs {_words(was)}"
    return None


def _words(shape: Shape | None) -> str:
    return "missing" if shape is None else f"{list(shape)}"
