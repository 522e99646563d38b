"""Weights as the numbers they are: counts those of a safetensors file, and finds the tensor with NaN or infinity.

Of a float that is not finite every bit of the exponent is set (IEEE 754, and bfloat16 and float8_e5m2 likewise);
float8_e4m3 has no infinity, and its NaN has every bit but the sign's set.
"""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.shared.safetensors_header import LENGTH_BYTES, DamagedTensors, Tensor, header_length, parse_tensors
from trainer.errors import WrongCheckpoint

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
# Bits of the integers into which quantized weights are packed. An I8 always holds one weight.
_PACKED = {"U8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
_CHUNK = 1 << 22
"""Numbers looked at together."""


def not_finite(file: Path) -> str | None:
    """Name of the first such tensor of a file that is whole; reads all of it."""
    import numpy as np

    content: numpy.ndarray[Any, Any] = np.memmap(file, dtype=np.uint8, mode="r")
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES].tobytes(), "little")
    tensors = json.loads(content[LENGTH_BYTES:start].tobytes())
    for name, tensor in tensors.items():
        if name != "__metadata__" and tensor["dtype"] in _NOT_FINITE:
            first, end = tensor["data_offsets"]
            if _holds_one(content[start + first : start + end], *_NOT_FINITE[tensor["dtype"]]):
                return str(name)
    return None


def numbers_of(file: Path, packed_bits: int | None = None) -> int:
    """How many weights a file that is whole holds. Reads its header.

    Args:
        file: A safetensors file.
        packed_bits: Bits of a weight, if several of them may be packed into one integer.
    """
    with file.open("rb") as opened:
        header = opened.read(int.from_bytes(opened.read(LENGTH_BYTES), "little"))
    tensors = (tensor for name, tensor in json.loads(header).items() if name != "__metadata__")
    return sum(math.prod(tensor["shape"]) * _weights_in_one(tensor["dtype"], packed_bits) for tensor in tensors)


def _weights_in_one(precision: str, packed_bits: int | None) -> int:
    return max(1, _PACKED.get(precision, 0) // packed_bits) if packed_bits else 1


def _holds_one(content: "numpy.ndarray[Any, Any] | bytes", kind: str, bits: int) -> bool:
    import numpy as np

    numbers = np.frombuffer(content, dtype=kind)
    mask = np.array(bits, dtype=kind)
    return any(bool((numbers[at : at + _CHUNK] & mask == mask).any()) for at in range(0, len(numbers), _CHUNK))


class WeightsStream:
    """Checks a safetensors file that passes by in chunks: that it is whole, and that its numbers are finite.

    Args:
        name: The file, for errors.
        wanted: Tensors that the index looks for in it.
    """

    def __init__(self, name: str, wanted: frozenset[str] = frozenset()) -> None:
        self._name, self._wanted = name, wanted
        self._header = bytearray()
        self._tensors: list[Tensor] | None = None
        self._end = 0
        self._next = 0  # the tensor that the next byte may belong to
        self._at = 0  # place of the next byte, from the first byte after the header
        self._rest = b""  # bytes of a number that is cut by the end of a chunk

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file. Raises WrongCheckpoint."""
        if self._tensors is None:
            self._header += chunk
            if (start := self._header_end()) is None or len(self._header) < start:
                return
            self._read_header(start)
            chunk, self._header = bytes(self._header[start:]), bytearray()
        self._check(chunk)

    def end(self) -> None:
        """The file has no more bytes. Raises WrongCheckpoint."""
        at = self._at + len(self._rest)
        if self._tensors is None or at != self._end:
            raise self._wrong(f"it has {at} bytes of tensors, its header says {self._end}")

    def _header_end(self) -> int | None:
        if len(self._header) < LENGTH_BYTES:
            return None
        try:
            return LENGTH_BYTES + header_length(bytes(self._header[:LENGTH_BYTES]))
        except DamagedTensors as error:
            raise self._wrong(str(error)) from None

    def _read_header(self, end: int) -> None:
        try:
            found = parse_tensors(bytes(self._header[LENGTH_BYTES:end]))
        except DamagedTensors as error:
            raise self._wrong(str(error)) from None
        self._end = found[-1].end if found else 0
        if lost := sorted(self._wanted - {tensor.name for tensor in found}):
            raise WrongCheckpoint(f"the index looks for {lost[0]} in {self._name}, which does not hold it")
        self._tensors = found

    def _check(self, chunk: bytes) -> None:
        content, tensors = self._rest + chunk, self._tensors or []
        first, end = self._at, self._at + len(self._rest) + len(chunk)
        while self._next < len(tensors) and first < end:
            tensor = tensors[self._next]
            stop = min(end, tensor.end)
            if tensor.precision in _NOT_FINITE and stop > (begin := max(first, tensor.start)):
                kind, bits = _NOT_FINITE[tensor.precision]
                stop -= (stop - tensor.start) % int(kind[-1])
                if stop > begin and _holds_one(content[begin - self._at : stop - self._at], kind, bits):
                    raise WrongCheckpoint(not_finite_text(self._name, tensor.name))
            first = max(first, stop)
            if stop < tensor.end:
                break
            self._next += 1
        if self._next >= len(tensors):
            first = end
        self._rest, self._at = content[first - self._at :], first

    def _wrong(self, why: str) -> WrongCheckpoint:
        return WrongCheckpoint(f"{self._name} is not a whole safetensors file: {why}")


def not_finite_text(file: str, tensor: str) -> str:
    """The error for a tensor that holds NaN or infinity."""
    return f"{file}: {tensor} holds NaN or infinity; such a model answers nothing"
