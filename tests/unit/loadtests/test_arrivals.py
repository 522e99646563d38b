from itertools import pairwise
from random import Random
from statistics import fmean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals import Arrivals, Bursty, Constant, Poisson, Ramp, mean_rate, schedule

DURATION_S = 500.0
PROCESSES = [Poisson(rate=20), Constant(rate=20), Bursty(rate=20, burstiness=0.25), Ramp(from_rate=5, to_rate=35)]


@pytest.mark.parametrize("arrivals", PROCESSES, ids=lambda a: a.process)
def test_as_many_are_due_as_the_rate_says_and_the_same_ones_for_the_same_seed(arrivals: Arrivals) -> None:
    due = schedule(arrivals, DURATION_S, Random(7))
    wanted = mean_rate(arrivals) * DURATION_S
    assert wanted == 10_000
    # Four standard deviations of the burstiest, whose variance is four times a Poisson's.
    assert abs(len(due) - wanted) < 4 * (4 * wanted) ** 0.5
    assert due == schedule(arrivals, DURATION_S, Random(7))
    assert arrivals.process == "constant" or due != schedule(arrivals, DURATION_S, Random(8))


@given(st.sampled_from([*PROCESSES, Ramp(from_rate=30, to_rate=0.5)]), st.floats(0.01, 50), st.integers())
def test_due_times_ascend_within_the_duration(arrivals: Arrivals, duration_s: float, seed: int) -> None:
    due = schedule(arrivals, duration_s, Random(seed))
    assert due == sorted(due)
    assert all(0 <= time < duration_s for time in due)


@pytest.mark.parametrize(("arrivals", "expected"), [(PROCESSES[0], 1.0), (PROCESSES[1], 0.0), (PROCESSES[2], 4.0)])
def test_gaps_vary_as_the_process_says(arrivals: Arrivals, expected: float) -> None:
    gaps = [b - a for a, b in pairwise(schedule(arrivals, DURATION_S, Random(3)))]
    assert variance(gaps) / fmean(gaps) ** 2 == pytest.approx(expected, rel=0.15, abs=1e-6)


@pytest.mark.parametrize(("start", "end"), [(5, 35), (35, 5), (0, 20)])
def test_a_ramp_is_as_steep_as_it_should_be(start: float, end: float) -> None:
    due = schedule(Ramp(from_rate=start, to_rate=end), DURATION_S, Random(1))
    first_half = sum(time < DURATION_S / 2 for time in due)
    expected = (start + (start + end) / 2) / 2 * DURATION_S / 2
    assert abs(first_half - expected) < 4 * expected**0.5
