"""The tests behind gates: what they make of plain cases, beside values that are known."""

import math
from collections import Counter

import pytest

from services.router.core.sequential import log_e_of_failures, log_e_of_ranks


def histogram(*values: int) -> Counter[int]:
    return Counter(values)


def test_ranks_of_equal_samples_say_nothing() -> None:
    same = histogram(*range(40))
    assert log_e_of_ranks([(same, same)], 0) == 0.0
    assert log_e_of_ranks([], 0) == log_e_of_ranks([(same, Counter())], 0) == 0.0


def test_ranks_of_samples_that_are_apart_as_the_formula_has_it() -> None:
    old, new = histogram(*range(40)), histogram(*range(100, 140))
    variance, effect, prior = 81 / (12 * 40 * 40), 0.5, 0.0625
    expected = 0.5 * math.log(variance / (variance + prior)) + effect**2 * prior / (2 * variance * (variance + prior))
    assert log_e_of_ranks([(old, new)], 0) == pytest.approx(expected)
    assert log_e_of_ranks([(new, old)], 0) == 0.0


def test_a_shift_forgives_what_it_covers() -> None:
    old, new = histogram(*range(40)), histogram(*range(5, 45))
    assert log_e_of_ranks([(old, new)], 5) == 0.0
    assert log_e_of_ranks([(old, histogram(*range(30, 70)))], 5) > 5


def test_strata_are_not_compared_with_each_other() -> None:
    low, high = histogram(*range(40)), histogram(*range(100, 140))
    assert log_e_of_ranks([(low, low), (high, high)], 0) == 0.0
    assert log_e_of_ranks([(low + high, high)], 0) > 5


def test_failures_as_the_formula_has_it() -> None:
    odds = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e6)
    ratios = [(x / (x + 1) / 0.5) ** 3 * (1 / (x + 1) / 0.5) for x in odds]
    assert log_e_of_failures([(100, 1, 100, 3)]) == pytest.approx(math.log(sum(ratios) / len(odds)))
    assert log_e_of_failures([]) == log_e_of_failures([(0, 0, 100, 50)]) == 0.0


def test_failures_of_one_window_count_as_four_at_most() -> None:
    assert log_e_of_failures([(100, 0, 100, 60)]) == pytest.approx(log_e_of_failures([(100, 0, 100, 4)]))


def test_failures_in_proportion_speak_against_a_worse_version() -> None:
    assert log_e_of_failures([(200, 4, 100, 2)] * 5) < 0
    assert log_e_of_failures([(200, 0, 100, 1)] * 5) > math.log(100)
