"""Counters of finished requests: what an answer raises, and what comes back of it."""

from collections import Counter

import pytest

from services.router.core.figures import (
    FLOORS,
    MAX_BUCKET,
    MAX_WINDOW,
    Answer,
    Figure,
    Figures,
    bucket_of,
    value_of,
    window_of,
)


def test_windows_are_short_at_first_and_few_in_the_end() -> None:
    assert [window_of(s) for s in (-1, 0, 4.9, 5, 99)] == [0, 0, 0, 1, 19]
    seconds = range(0, 86_400, 3)
    assert all(window_of(s) <= window_of(s + 3) <= window_of(s) + 1 for s in seconds)
    assert window_of(86_400) < 170
    assert window_of(1e12) == MAX_WINDOW


@pytest.mark.parametrize("figure", list(FLOORS))
def test_a_bucket_is_a_twentieth_wide(figure: Figure) -> None:
    for value in (FLOORS[figure] * factor for factor in (1.3, 7, 400)):
        assert value_of(figure, bucket_of(figure, value)) == pytest.approx(value, rel=0.026)
    assert bucket_of(figure, 0) == bucket_of(figure, FLOORS[figure]) == 0
    assert bucket_of(figure, 1e12) == MAX_BUCKET


def test_an_answer_comes_back_from_its_counters() -> None:
    answer = Answer("default", ttft_s=0.3, tpot_s=0.02, tokens=90, structured=True, broken=True, load=5, prefill=900)
    failed = Answer("default", failed=True)
    figures = Figures.of_hash({**Counter([*answer.fields(7), *failed.fields(8)]), "later release:1:2": 3})
    assert (figures.requests, figures.failed) == (Counter({7: 1, 8: 1}), Counter({8: 1}))
    assert (figures.structured, figures.broken) == (Counter({7: 1}), Counter({7: 1}))
    assert set(figures.histograms[Figure.TTFT]) == {(1, "3.5")}
    assert set(figures.histograms[Figure.TPOT]) == {(1, "3")}
    assert figures.median(Figure.TTFT) == pytest.approx(0.3, rel=0.03)
    assert figures.median(Figure.LENGTH) == pytest.approx(90, rel=0.03)


def test_a_median_is_of_all_slices_and_strata() -> None:
    answers = [Answer("default", tpot_s=value, load=load) for load, value in enumerate((0.01, 0.02, 0.03))]
    fields = [field for window, answer in enumerate(answers) for field in answer.fields(window)]
    assert Figures.of_hash(Counter(fields)).median(Figure.TPOT) == pytest.approx(0.02, rel=0.03)
    assert Figures().median(Figure.TPOT) is None
