import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from services.shared.safetensors_header import MAX_HEADER_BYTES, DamagedTensors, Tensor, read_tensors
from tests.support.tensor_files import framed, header_of, row, tensor_file


def read(folder: Path, content: bytes) -> list[Tensor]:
    (folder / "x.safetensors").write_bytes(content)
    return read_tensors(folder / "x.safetensors")


def test_a_file_of_the_formats_own_library_is_read(tmp_path: Path) -> None:
    content = save({"b": np.ones((2, 3), np.float32), "a": np.ones((), np.float16)}, metadata={"format": "np"})
    found = {tensor.name: (tensor.precision, tensor.shape) for tensor in read(tmp_path, content)}
    assert found == {"a": ("F16", ()), "b": ("F32", (2, 3))}
    assert read(tmp_path, header_of({})) == []
    assert read(tmp_path, tensor_file(b"weights", "w")) == [Tensor("w", "U8", (7,), 0, 7)]


GOOD = tensor_file(b"weights")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "only 0 bytes"),
        (GOOD[:-1], "6 bytes of tensors, its header says 7"),
        (GOOD + b"x", "8 bytes of tensors"),
        (GOOD[:20], "its header has"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "more than"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "more than"),
        (framed(b"[]"), "not a JSON object"),
        (framed(b"{"), "cannot be read"),
        (framed(b"\xff\xfe"), "cannot be read"),
        (framed(b'{"a":' * 50_000), "cannot be read"),
        (framed(b'{"a": 1}'), "cannot be read"),
        (header_of({"a": row(3), "b": row(3)}) + b"abc", "begins at byte 0"),
        (header_of({"a": row(3, 1)}) + b"abcd", "begins at byte 1"),
        (header_of({"a": row(3) | {"shape": [4]}}) + b"abc", "U8 of shape [4] takes 4"),
        (header_of({"a": row(3) | {"dtype": "F32"}}) + b"abc", "F32 of shape [3] takes 12"),
        (header_of({"a": row(3) | {"dtype": "PICKLE"}}) + b"abc", "cannot be read"),
        (header_of({"a": row(3) | {"shape": [-1, -3]}}) + b"abc", "cannot be read"),
        (header_of({"a": row(3) | {"shape": [3.0]}}) + b"abc", "cannot be read"),
        (header_of({"a": row(3) | {"shape": [1 << 60, 0]}}) + b"abc", "cannot be read"),
        (header_of({str(number): row(0) for number in range(100_000)}), "100000 tensors, more than 65536"),
        (framed(b'{"a": %s, "a": %s}' % ((json.dumps(row(0)).encode(),) * 2)), "is there twice"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DamagedTensors) as refused:
        read(tmp_path, content)
    assert reason in str(refused.value)
