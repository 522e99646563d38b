"""Weights as the numbers they are: finds the tensor of a safetensors file that holds NaN or infinity.

Of a float that is not finite every bit of the exponent is set (IEEE 754, and bfloat16 and float8_e5m2 likewise);
float8_e4m3 has no infinity, and its NaN has every bit but the sign's set.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

# Precision -> unsigned integers of its width (numpy), and the bits that must not all be set.
_NOT_FINITE = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
_LENGTH_BYTES = 8
_CHUNK = 1 << 22
"""Numbers looked at together."""


def not_finite(file: Path) -> str | None:
    """Name of the first such tensor of a file that is whole; reads all of it."""
    import numpy as np

    content: numpy.ndarray[Any, Any] = np.memmap(file, dtype=np.uint8, mode="r")
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    tensors = json.loads(content[_LENGTH_BYTES:start].tobytes())
    for name, tensor in tensors.items():
        if name != "__metadata__" and tensor["dtype"] in _NOT_FINITE:
            first, end = tensor["data_offsets"]
            if _holds_one(content[start + first : start + end], *_NOT_FINITE[tensor["dtype"]]):
                return str(name)
    return None


def _holds_one(content: "numpy.ndarray[Any, Any]", kind: str, bits: int) -> bool:
    import numpy as np

    numbers = np.frombuffer(content, dtype=kind)
    mask = np.array(bits, dtype=kind)
    return any(bool((numbers[at : at + _CHUNK] & mask == mask).any()) for at in range(0, len(numbers), _CHUNK))
