import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.figures import Spread, figures, gaps, missed, percentile
from loadtests.profile import Objectives
from loadtests.sample import Outcome, Sample
from tests.unit.loadtests.samples import answered, failed

STRICT = Objectives(ttft_ms=200, tpot_ms=50, e2e_ms=2000)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], p: float) -> None:
    assert percentile(sorted(values), p) == pytest.approx(float(np.percentile(values, p)), rel=1e-9, abs=1e-9)


def test_a_spread_is_in_milliseconds_and_skips_what_was_not_measured() -> None:
    spread = Spread.of([0.1, None, 0.3])
    assert spread is not None
    assert spread.count == 2
    assert [spread.p50, spread.max] == pytest.approx([200, 300])
    assert Spread.of([None]) is None


def test_latencies_count_from_the_moment_a_request_was_due() -> None:
    sample = answered(5.0, first=0.2, end=1.1, tokens=10)
    sample.sent_s = 5.15
    assert sample.ttft_s == pytest.approx(0.2)
    assert sample.tpot_s == pytest.approx(0.1)
    assert sample.e2e_s == pytest.approx(1.1)
    assert sample.lag_s == pytest.approx(0.15)
    assert list(gaps(sample)) == pytest.approx([0.1] * 9)


@pytest.mark.parametrize(
    ("sample", "over"),
    [
        (answered(first=0.1, end=0.4), []),
        (answered(first=0.3, end=0.5), ["ttft"]),
        (answered(first=0.1, end=1.9, tokens=11), ["tpot"]),
        (answered(first=0.5, end=9.0), ["ttft", "tpot", "e2e"]),
        (answered(first=0.1, end=0.1, tokens=1), []),
        (answered(first=0.5, end=1.9, streamed=False), []),
    ],
    ids=["met", "late first token", "slow tokens", "all", "one token", "in one piece: judged by its end"],
)
def test_what_a_request_missed(sample: Sample, over: list[str]) -> None:
    assert missed(sample, STRICT) == over


def test_goodput_counts_what_was_not_answered_against_the_server() -> None:
    samples = [
        *(answered(n, first=0.1, end=0.3) for n in range(5)),
        answered(first=0.9, end=1.0),
        failed(outcome=Outcome.REFUSED),
        failed(outcome=Outcome.TIMEOUT),
        failed(outcome=Outcome.NOT_SENT),
        failed(outcome=Outcome.NOT_SENT),
    ]
    found = figures(samples, {"default": STRICT}, elapsed_s=10)
    assert found.goodput.model_dump() == {"met": 5, "share": 0.5, "per_s": 0.5, "missed": {"ttft": 1}}
    assert (found.due, found.sent) == (10, 8)
    assert found.errors == {"not_sent": 2, "refused": 1, "timeout": 1}
    assert found.output_tokens_per_s == 6.0


def test_a_run_without_requests_has_no_figures_and_does_not_fail() -> None:
    found = figures([], {"default": STRICT}, elapsed_s=1)
    assert found.ttft_ms is None
    assert found.goodput.share == 0
