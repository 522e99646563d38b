"""What people are told of a data set."""

from pathlib import Path

import pytest

from tests.unit.trainer.data.files import ANSWER, CHAT, QUESTION, lines
from trainer.data.inspection import Characters, Inspection, Lengths, inspect
from trainer.data.reader import Reader
from trainer.data.wrong import WrongData


def inspected(folder: Path, *records: object) -> Inspection:
    (folder / "a.jsonl").write_bytes(lines(*records))
    return inspect(Reader(folder / "a.jsonl"), Characters(), 1024)


def test_each_answer_that_is_learnt_counts_with_what_came_before_it(tmp_path: Path) -> None:
    more = [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER, QUESTION, ANSWER]
    found = inspected(tmp_path, CHAT, {"messages": more})
    pair = len(QUESTION["content"] + ANSWER["content"])
    assert (found.lengths.count, found.lengths.total, found.lengths.longest) == (3, 6 * pair, 3 * pair)
    assert [span.text for span in found.shown[1] if span.learnt] == ["At noon.\n", "At noon.\n"]
    assert found.limited is None, "the limit is in tokens"


def test_both_sides_of_a_pair_count(tmp_path: Path) -> None:
    found = inspected(tmp_path, {"prompt": "abc", "chosen": "de", "rejected": "f"})
    assert (found.kind, found.lengths.count, found.lengths.total) == ("preference pairs", 2, 9)
    assert [span.text for span in found.shown[0] if span.learnt] == ["de\n", "f\n"]


def test_a_judged_answer_is_shown_with_what_people_think_of_it(tmp_path: Path) -> None:
    found = inspected(tmp_path, *[{"prompt": "abc", "completion": "de", "label": label} for label in (True, False)])
    assert (found.kind, [shown[0].text for shown in found.shown]) == ("judged answers", ["[good]\n", "[bad]\n"])


def test_only_the_first_samples_are_shown(tmp_path: Path) -> None:
    found = inspected(tmp_path, *[{"text": "a"}] * 5)
    assert (len(found.shown), found.report.kept) == (3, 5)


def test_lengths_fall_into_buckets_without_gaps() -> None:
    lengths = Lengths()
    for length in (1, 2, 3, 4, 5, 33):
        lengths.add(length)
    assert lengths.histogram() == [
        (1, 1, 1), (2, 2, 1), (3, 4, 2), (5, 8, 1), (9, 16, 0), (17, 32, 0), (33, 64, 1)
    ]  # fmt: skip


def test_no_data_is_looked_at_too_and_wrong_data_is_told(tmp_path: Path) -> None:
    found = inspected(tmp_path)
    assert (found.kind, found.report.kept, found.lengths.histogram()) == (None, 0, [])
    with pytest.raises(WrongData, match=r"^a\.jsonl:1: "):
        inspected(tmp_path, {"a": 1})
