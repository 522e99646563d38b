from hypothesis import given
from hypothesis import strategies as st

from loadtests.sample import Outcome
from loadtests.series import MAX_INTERVALS, series
from tests.unit.loadtests.samples import answered, failed


def test_what_is_open_is_counted_in_every_interval_that_it_touches() -> None:
    found = series([answered(0.5, end=3.0), answered(1.2, end=0.1), answered(1.4, end=0.1)], elapsed_s=4)
    assert found.in_flight == [1, 2, 1, 1, 0]
    assert found.due == [1, 2, 0, 0, 0]
    assert found.ended == [0, 2, 0, 1, 0]
    assert sum(found.events) == 30


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0.1, 60)), max_size=30))
def test_nothing_is_lost_and_intervals_are_bounded(spans: list[tuple[float, float]]) -> None:
    samples = [answered(due, end=took) for due, took in spans] + [failed(3, Outcome.NOT_SENT)]
    elapsed_s = max([5.0, *(due + took for due, took in spans)])
    found = series(samples, elapsed_s)
    assert len(found.due) <= MAX_INTERVALS + 1
    assert sum(found.due) == len(samples)
    assert sum(found.ended) == sum(found.sent) == len(spans)
    assert sum(found.events) == 10 * len(spans)
    assert max(found.in_flight) <= len(spans)
