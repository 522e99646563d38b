"""Small safetensors files."""

import json
from collections.abc import Mapping


def tensor_file(content: bytes, name: str = "weights") -> bytes:
    """A file with one tensor, whose bytes these are."""
    return header_of({name: row(len(content))}) + content


def row(size: int, start: int = 0) -> dict[str, object]:
    """The header's row of a tensor of bytes."""
    return {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}


def header_of(rows: Mapping[str, object]) -> bytes:
    """The first bytes of a file whose header has these rows."""
    return framed(json.dumps(rows).encode())


def framed(header: bytes) -> bytes:
    """The header behind its length."""
    return len(header).to_bytes(8, "little") + header
