"""Weights that pass by in chunks are judged as files on disk are, and counted."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from trainer.errors import WrongCheckpoint
from trainer.weights import WeightsStream, not_finite, numbers_of

CHUNKS = [1, 3, 7, 64, 1 << 20]


def passed(content: bytes, size: int, wanted: frozenset[str] = frozenset()) -> None:
    stream = WeightsStream("model.safetensors", wanted)
    for start in range(0, len(content), size):
        stream.feed(content[start : start + size])
    stream.end()


def weights(**tensors: torch.Tensor) -> bytes:
    good = {"a": torch.ones(3, 5, dtype=torch.bfloat16), "ids": torch.tensor([-1]), "none": torch.ones(0)}
    return bytes(save({**good, **tensors}))


@pytest.mark.parametrize("size", CHUNKS)
def test_whole_weights_pass_in_chunks_of_any_size(size: int) -> None:
    passed(weights(b=torch.ones(2, dtype=torch.float64), c=torch.ones(7, dtype=torch.float8_e4m3fn)), size)


@pytest.mark.parametrize("size", CHUNKS)
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_number_that_is_not_finite_is_found_wherever_chunks_end(
    size: int, precision: torch.dtype, place: int, tmp_path: Path
) -> None:
    bad = torch.ones(7, dtype=torch.float32)
    bad[place] = float("nan")
    tensors = {"bad": bad.to(precision), "later": torch.ones(2)}
    with pytest.raises(WrongCheckpoint, match=r"model\.safetensors: bad holds NaN"):
        passed(weights(**tensors), size)
    save_file(tensors, tmp_path / "x.safetensors")
    assert not_finite(tmp_path / "x.safetensors") == "bad"


@pytest.mark.parametrize("size", CHUNKS)
def test_a_file_that_is_cut_off_or_too_long_is_told(size: int) -> None:
    whole = weights()
    for wrong in (whole[:-1], whole + b"x", whole[:20], b""):
        with pytest.raises(WrongCheckpoint, match="is not a whole safetensors file"):
            passed(wrong, size)


def test_a_tensor_that_the_index_looks_for_is_named() -> None:
    with pytest.raises(WrongCheckpoint, match="looks for lost"):
        passed(weights(), 64, frozenset({"a", "lost"}))


@pytest.mark.parametrize(
    "header", [b"[]", b"{", b'{"a": 1}', b'{"a": {"dtype": [], "data_offsets": ["x", 1]}}', b'{"a": {"dtype": "F32"}}']
)
def test_a_header_that_is_none_is_told(header: bytes) -> None:
    with pytest.raises(WrongCheckpoint, match="its header"):
        passed(len(header).to_bytes(8, "little") + header, 64)


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(WrongCheckpoint, match="its header has"):
        passed((1 << 40).to_bytes(8, "little") + b"{}", 64)


@pytest.mark.parametrize(
    ("precision", "bits", "weights_in_one"),
    [
        (torch.float32, None, 1),
        (torch.bfloat16, None, 1),
        (torch.int32, None, 1),
        (torch.int8, 8, 1),
        (torch.int8, 4, 1),
        (torch.float8_e4m3fn, 8, 1),
        (torch.bfloat16, 4, 1),
        (torch.int32, 4, 8),
        (torch.int32, 8, 4),
        (torch.uint8, 4, 2),
        (torch.int32, 64, 1),
    ],
)
def test_weights_are_counted_packed_or_not(
    precision: torch.dtype, bits: int | None, weights_in_one: int, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 5, dtype=precision), "scalar": torch.ones(())}, file, metadata={"format": "pt"})
    assert numbers_of(file, bits) == 15 * weights_in_one + 1
