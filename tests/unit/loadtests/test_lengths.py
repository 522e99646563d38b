from random import Random
from statistics import median

import pytest
from pydantic import TypeAdapter, ValidationError

from loadtests.lengths import Lengths, Lognormal, Uniform

LENGTHS: TypeAdapter[Lengths] = TypeAdapter(Lengths)


def test_a_number_is_a_length() -> None:
    assert LENGTHS.validate_python(12).draw(Random(0)) == 12


def test_drawn_lengths_keep_to_their_bounds_and_middle() -> None:
    random = Random(1)
    even = [Uniform(min=3, max=7).draw(random) for _ in range(2000)]
    assert set(even) == {3, 4, 5, 6, 7}
    skewed = [Lognormal(median=100, sigma=0.7, min=10, max=400).draw(random) for _ in range(4000)]
    assert min(skewed) >= 10
    assert max(skewed) == 400
    assert median(skewed) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        -3,
        {"kind": "uniform", "min": 5, "max": 4},
        {"kind": "lognormal", "median": 500, "sigma": 1, "max": 400},
        {"kind": "zipf", "value": 3},
    ],
)
def test_impossible_lengths_are_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        LENGTHS.validate_python(wrong)
