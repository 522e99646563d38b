"""A run takes one device, whatever it sees."""

import pytest

from trainer.devices import first_device


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 0, None),
        (None, 1, None),
        ("3", 1, None),
        (None, 4, "0"),
        ("2,3", 2, "2"),
        (" GPU-1f , GPU-2a", 2, "GPU-1f"),
    ],
)
def test_the_first_of_several_is_taken(visible: str | None, count: int, expected: str | None) -> None:
    assert first_device({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, count) == expected
