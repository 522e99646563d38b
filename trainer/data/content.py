"""The bytes of a data file, unpacked and counted, and its lines. Nothing is read into memory that has no bound."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainer.data.wrong import WrongData, WrongRecord

MAX_BYTES = 1 << 30
"""Bytes of a whole data set, unpacked."""
MAX_LINE_BYTES = 1 << 24
_PIECE_BYTES = 1 << 16

PACKED = {".gz": "gzip", ".zst": "zstd"}
"""Endings of packed files, with Arrow's names of the codecs."""

_OTHER_UNICODE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BYTE_ORDER_MARK = "\ufeff"


@dataclass(slots=True)
class Budget:
    """Bytes that may be read, and how many of them were."""

    limit: int = MAX_BYTES
    spent: int = 0

    def spend(self, count: int, name: str) -> None:
        """Raises WrongData when the data is larger than the limit."""
        self.spent += count
        if self.spent > self.limit:
            raise WrongData(f"{name}: the data has more than {self.limit} bytes when it is unpacked: take a part of it")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, without its end."""

    number: int
    content: bytes

    def text(self) -> str:
        """Raises WrongRecord: It is not UTF-8."""
        return decoded(self.content)


def decoded(content: bytes) -> str:
    """UTF-8 as text. Raises WrongRecord."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise WrongRecord(f"not UTF-8 (byte {error.start + 1}): save the file as UTF-8") from None


@contextmanager
def opened(file: Path, name: str, budget: Budget) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked.

    Raises:
        WrongData: The file cannot be read, is not packed as its name says, ends too early, is UTF-16, or is larger
            than the budget.
    """
    try:
        with file.open("rb") as raw, _unpacked(raw, file) as source:
            counted: Any = _Counted(source, name, budget)
            reader = io.BufferedReader(counted, _PIECE_BYTES)
            if reader.peek(2).startswith(_OTHER_UNICODE):
                raise WrongData(f"{name}: the file is UTF-16: save it as UTF-8")
            yield reader
    except OSError as error:
        raise WrongData(f"{name}: {_reason(error, file)}") from None


def lines(reader: io.BufferedReader, name: str) -> Iterator[Line]:
    """The lines of a file. Only a line feed ends one: U+2028 and its kind are characters like any other.

    Raises:
        WrongData: A line has more than MAX_LINE_BYTES.
    """
    number = 0
    while content := reader.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(content) > MAX_LINE_BYTES:
            raise WrongData(f"{name}:{number}: the line has more than {MAX_LINE_BYTES} bytes: split the record")
        yield Line(number, content)


def whole(reader: io.BufferedReader, name: str, limit: int, way_out: str) -> bytes:
    """The rest of a file. Raises WrongData: It has more than `limit` bytes; `way_out` says what to do."""
    content = reader.read(limit + 1)
    if len(content) > limit:
        raise WrongData(f"{name}: the file has more than {limit} bytes: {way_out}")
    return content


def _unpacked(raw: BinaryIO, file: Path) -> BinaryIO:
    if not (codec := PACKED.get(file.suffix.lower())):
        return raw
    import pyarrow  # takes half a second, and most files are not packed

    stream: BinaryIO = pyarrow.CompressedInputStream(raw, codec)
    return stream


def _reason(error: OSError, file: Path) -> str:
    if error.strerror:
        return f"the file cannot be read: {error.strerror}"
    kind = PACKED.get(file.suffix.lower(), "")
    if "Truncated" in str(error):
        return f"the {kind} file ends too early: copy it again, its last part is missing"
    return f"the file is not {kind}, though its name ends in {file.suffix}, or it is damaged: pack it again"


class _Counted(io.RawIOBase):
    """Counts the bytes as they come out of the unpacking, so that a small file cannot become a huge one."""

    def __init__(self, source: BinaryIO, name: str, budget: Budget) -> None:
        self._source, self._name, self._budget = source, name, budget

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """See io.RawIOBase. Raises WrongData."""
        content = self._source.read(len(buffer))
        self._budget.spend(len(content), self._name)
        buffer[: len(content)] = content
        return len(content)
