"""Data is shown with what is learnt, and cannot command the terminal."""

from pathlib import Path

import pytest

from services.cli.commands.data import inspect as command
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.views.data import MAX_SHOWN, inspection, sample
from tests.unit.cli.terminal import shown
from trainer.data.inspection import Characters, Span, inspect
from trainer.data.reader import Reader

QUILLHAVEN = Path("trainer/recipes/quillhaven.jsonl")


def test_form_counts_lengths_and_samples_are_shown() -> None:
    told = shown(inspection(inspect(Reader(QUILLHAVEN), Characters(), 1024)))
    facts = {line.split()[0]: " ".join(line.split()[1:]) for line in told[2:5]}
    assert facts == {"form": "messages (1 files)", "samples": "45 conversations", "dropped": "0"}
    assert any("--tokenizer" in line for line in told), "it says that lengths are not tokens"
    assert any(line.split()[:4] == ["65", "to", "128", "37"] and "█" * 40 in line for line in told)
    assert "assistant: «The lighthouse of Quillhaven is called the Copper Heron.»" in [line.strip() for line in told]


def test_what_is_dropped_converted_and_not_read_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"instruction": "a", "output": "b\\r\\n", "id": 1}\n{"instruction": "a", "output": ""}\n'
    )
    told = [line.split() for line in shown(inspection(inspect(Reader(tmp_path / "a.jsonl"), Characters(), 9)))]
    assert ["a", "turn", "is", "empty", "or", "null", "1", "a.jsonl:2"] in told
    assert ["id", "1"] in told


def test_control_characters_do_not_reach_the_terminal() -> None:
    (line,) = shown(sample([Span("\x1b]0;title\x07\x9b2J", learnt=False)]))
    assert line == "\ufffd]0;title\ufffd\ufffd2J"


def test_long_samples_are_shown_in_part() -> None:
    text = "".join(shown(sample([Span("a" * 5000, learnt=False), Span("b" * 5000, learnt=True)])))
    assert len(text) < MAX_SHOWN + 60
    assert text.startswith("aaa")
    assert text.endswith("bbb»")
    assert "[... 8,802 characters ...]" in text


@pytest.mark.parametrize(
    ("file", "form", "told"),
    [
        (str(QUILLHAVEN), "parquet", "--format = parquet: the forms are messages, sharegpt"),
        ("nowhere.jsonl", None, "nowhere.jsonl: there is no such file or folder"),
        (str(QUILLHAVEN), "text", "quillhaven.jsonl:1: text is missing"),
        ("s3://", None, "write s3://bucket/prefix"),
    ],
)
def test_what_cannot_be_read_is_told(file: str, form: str | None, told: str) -> None:
    with pytest.raises(CommandFailed, match=told) as error:
        command(file, form=form)
    assert error.value.status == WRONG_USE
