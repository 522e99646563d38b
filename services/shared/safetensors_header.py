"""The header of a safetensors file: names, precisions, shapes and places of its tensors, checked.

A file has eight bytes with the length of the header (little-endian), the header (JSON), and the tensors one after the
other: https://huggingface.co/docs/safetensors. Only the header is read; a file of any size takes a moment.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Far more than models need: parsing the header must not hold up a process that serves streams."""
MAX_TENSORS = 65_536
"""Of one file: far more than models have, few enough to be read in a moment."""
_METADATA = "__metadata__"
_MAX_DIMENSIONS = 16
_MAX_DIMENSION = 2**48

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Width of a number by the name of its precision."""


class DamagedTensors(Exception):
    """The file is damaged or is no safetensors file. The message says what is wrong, without the file's name."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a file. `start` and `end` are the places of its bytes, from the end of the header on."""

    name: str
    precision: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensors(file: Path) -> list[Tensor]:
    """The tensors of a file, in the order of their bytes.

    Raises:
        DamagedTensors: The file is damaged, or is not as long as its header says.
        OSError: The file cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = header_length(opened.read(LENGTH_BYTES))
        if length > size - LENGTH_BYTES:
            raise DamagedTensors(f"its header has {length} bytes, the file {size}")
        tensors = parse_tensors(opened.read(length))
    there, wanted = size - LENGTH_BYTES - length, tensors[-1].end if tensors else 0
    if there != wanted:
        raise DamagedTensors(f"it has {there} bytes of tensors, its header says {wanted}")
    return tensors


def header_length(start: bytes) -> int:
    """The length of the header, from the first bytes of a file.

    Raises:
        DamagedTensors: The file is too short, or the header too long.
    """
    if len(start) < LENGTH_BYTES:
        raise DamagedTensors(f"it has only {len(start)} bytes")
    if (length := int.from_bytes(start[:LENGTH_BYTES], "little")) > MAX_HEADER_BYTES:
        raise DamagedTensors(f"its header has {length} bytes, more than {MAX_HEADER_BYTES}")
    return length


def parse_tensors(header: bytes) -> list[Tensor]:
    """The tensors that a header names, in the order of their bytes.

    Raises:
        DamagedTensors: The header cannot be read, or the tensors do not lie one after the other.
    """
    try:
        rows = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DamagedTensors(f"its header cannot be read: {error}") from None
    if not isinstance(rows, dict):
        raise DamagedTensors("its header cannot be read: it is not a JSON object")
    rows.pop(_METADATA, None)
    if len(rows) > MAX_TENSORS:
        raise DamagedTensors(f"it holds {len(rows)} tensors, more than {MAX_TENSORS}")
    tensors = sorted((_tensor(name, row) for name, row in rows.items()), key=lambda tensor: (tensor.start, tensor.end))
    at = 0
    for tensor in tensors:
        if tensor.start != at:
            raise DamagedTensors(f"{_shown(tensor.name)} begins at byte {tensor.start}, the tensor before ends at {at}")
        at = tensor.end
    return tensors


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{_shown(name)} is there twice")
        found[name] = value
    return found


def _tensor(name: str, row: Any) -> Tensor:
    try:
        precision, shape, (start, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        if not all(_is_size(number) for number in (*shape, start, end)) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("a shape or place is no size")
        bits = _BITS[precision] * math.prod(shape)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedTensors(f"its header cannot be read: {_shown(name)}: {error!r}"[:500]) from None
    if bits % 8 or end - start != bits // 8:
        raise DamagedTensors(
            f"{_shown(name)} has {end - start} bytes, and {precision} of shape {list(shape)} takes {bits // 8}"
        )
    return Tensor(name, precision, shape, start, end)


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_DIMENSION


def _shown(name: str) -> str:
    """A name from a file that may be wrong, for a message."""
    return f"tensor {name[:100]!r}"
