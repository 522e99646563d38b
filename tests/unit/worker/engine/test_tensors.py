from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.worker.engine.tensors import UnreadableTensors, difference, shapes


def test_shapes_are_read_over_all_shards(tmp_path: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.zeros(4, np.float16)}, tmp_path / "model-2.safetensors")
    assert shapes(tmp_path) == {"a": (2, 3), "b": (4,)}


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(UnreadableTensors, match=r"model\.safetensors"):
        shapes(tmp_path)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({"a": (2,), "b": (3,)}, None),
        ({"a": (2,)}, "tensor b is missing, the engine runs [3]"),
        ({"a": (2,), "b": (4,)}, "tensor b is [4], the engine runs [3]"),
        ({"a": (2,), "b": (3,), "c": (1,)}, "tensor c is [1], the engine runs missing"),
    ],
)
def test_the_first_difference_is_named(new: dict[str, tuple[int, ...]], expected: str | None) -> None:
    assert difference({"a": (2,), "b": (3,)}, new) == expected
