"""A goal is a limit for ours / theirs, either a minimum or a maximum."""

from typing import Literal

import pytest

from loadtests.bench.figures import Findings, Report, Row


def row(ours: float, theirs: float, wanted: Literal["at most", "at least"], goal: float = 0.5) -> Row:
    return Row(what="CPU", unit="us", peer="them", ours=ours, theirs=theirs, goal=goal, wanted=wanted)


@pytest.mark.parametrize(
    ("ours", "theirs", "at_most", "at_least"), [(4, 10, True, False), (5, 10, True, True), (6, 10, False, True)]
)
def test_met_or_missed(ours: float, theirs: float, at_most: bool, at_least: bool) -> None:
    assert row(ours, theirs, "at most").met is at_most
    assert row(ours, theirs, "at least").met is at_least


def test_what_has_no_goal_is_never_missed() -> None:
    beside = Row(what="CPU", unit="us", peer="them", ours=9, theirs=1)
    assert (beside.ratio, beside.met, beside.verdict_text, beside.goal_text) == (9, True, "", "")


def test_the_report_has_what_was_found_and_its_verdicts() -> None:
    report = Report(load=0.5)
    report.add(Findings(rows=[row(1, 4, "at most")]))
    report.add(Findings(rows=[row(1, 4, "at least")]))
    document = report.model_dump(mode="json")
    assert [(entry["ratio"], entry["met"]) for entry in document["rows"]] == [(0.25, True), (0.25, False)]
