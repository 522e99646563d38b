"""Data is always split the same way."""

from random import Random

import pytest

from trainer.data.sample import Sample, Text
from trainer.data.split import split


@pytest.mark.parametrize(("count", "share", "held_out"), [(2, 0.01, 1), (2, 0.5, 1), (10, 0.2, 2), (45, 0.1, 4)])
def test_a_split_loses_nothing_and_leaves_both_sides_something(count: int, share: float, held_out: int) -> None:
    samples: list[Sample] = [Text(f"data:{line}", "a") for line in range(count)]
    parts = split(samples, share, Random(1))
    assert len(parts.held_out) == held_out
    assert sorted(parts.training + parts.held_out, key=samples.index) == samples
    assert split(samples, share, Random(1)) == parts
