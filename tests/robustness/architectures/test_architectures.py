"""The parts of the drill that need no engine. The drill itself takes minutes: see `__main__.py`."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.shared.architectures import Task, known_architectures
from services.shared.config import load
from tests.robustness.architectures import seen
from tests.robustness.architectures.answer import Answer, difference, questions
from tests.robustness.architectures.drill import config
from tests.robustness.architectures.kinds import KINDS, Kind

GIVEN = Answer([1, 2], [3, 4], "tide")
ROW = seen.Seen("llama", "LlamaForCausalLM", 16, 15, 8, way=seen.Way.IN_PLACE, streams=60, of_second=20)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_is_one_that_vllm_has_code_for_and_its_cluster_can_be_configured(kind: Kind, tmp_path: Path) -> None:
    assert known_architectures().task(kind.architecture) is Task.TEXT
    file = tmp_path / "tidegate.yaml"
    file.write_text(config(kind))
    assert load(file).pool(kind.name).engine.kind == "vllm"


def test_the_same_answer_is_no_difference() -> None:
    assert difference(GIVEN, replace(GIVEN)) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(GIVEN, prompt_token_ids=[1]), "prompt_token_ids: [1] and not [1, 2]"),
        (replace(GIVEN, token_ids=[3, 5]), "token_ids: [3, 5] and not [3, 4]"),
        (replace(GIVEN, text="tid"), "text: 'tid' and not 'tide'"),
    ],
)
def test_a_difference_is_told(changed: Answer, said: str) -> None:
    assert difference(GIVEN, changed) == said


def test_questions_are_different_and_the_same_for_a_seed() -> None:
    asked = questions(10, 7, chats=True)
    assert len({question.text for question in asked}) == 10
    assert sum(question.chat for question in asked) == 5
    assert asked == questions(10, 7, chats=True)
    assert not any(question.chat for question in questions(10, 7, chats=False))


def test_a_row_of_the_table_says_what_was_seen() -> None:
    assert seen.table([ROW], "1.2").splitlines()[-1] == (
        "| llama | `LlamaForCausalLM` | 15 of 16 | 8 | in place: 60 streams, 20 of the second version |"
    )
    assert seen.table([replace(ROW, way=seen.Way.NONE)], "1.2").splitlines()[-1].endswith("| **no** |")


def test_the_page_shows_the_data() -> None:
    page = seen.PAGE.read_text()
    assert seen.written(page) == page


def test_the_data_is_about_the_kinds_of_the_drill() -> None:
    assert set(seen.read()) <= {kind.name for kind in KINDS}
    assert {kind.name: kind.architecture for kind in KINDS if kind.name in seen.read()} == {
        name: row.architecture for name, row in seen.read().items()
    }


def test_a_page_without_a_place_for_the_table_is_told() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        seen.written("# Models\n")
