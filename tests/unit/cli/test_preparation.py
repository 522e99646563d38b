"""What became of raw text is shown: counts, reasons, examples that cannot command the terminal."""

from pathlib import Path

import pytest

from services.cli.commands.data import prepare
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.views.preparation import preparation
from tests.unit.cli.terminal import shown
from trainer.preparing.report import Amount, Drop, Example, Preparation, SourceReport

REPORT = Preparation(
    read=Amount(documents=1200, tokens=90_000),
    dropped=(
        Drop(
            step="sound",
            reason="binary",
            documents=200,
            tokens=5_000,
            examples=(Example(document="web/a:1", text="\x1b]0;title\x07\nnext"),),
        ),
    ),
    cleaned_tokens=7,
    kept=Amount(documents=1000, tokens=84_993),
    sources=(
        SourceReport(
            name="web",
            weight=0.5,
            read=Amount(documents=1200, tokens=90_000),
            kept=Amount(documents=1000, tokens=84_993),
        ),
    ),
    replaced={"emails": 3},
    decontamination={"texts": 12, "groups": 80, "too_short": 2},
    files_left_out=1,
    vocab_size=32_000,
)


def test_counts_reasons_and_examples_are_shown() -> None:
    told = [line.split() for line in shown(preparation(REPORT, "corpus"))]
    for line in (
        ["in", "1,200", "90,000"],
        ["sound", "binary", "-200", "-5,000"],
        ["cleaned", "parts", "of", "documents", "-7"],
        ["out", "1,000", "84,993"],
        ["web", "0.5", "1,200", "90,000", "1,000", "84,993"],
        ["binary", "web/a:1", "\ufffd]0;title\ufffd", "next"],
        ["emails", "replaced", "3"],
        ["evaluation", "texts", "12,", "of", "them", "too", "short", "to", "be", "found:", "2"],
        ["files", "left", "out", "1"],
    ):
        assert line in told


def test_a_wrong_recipe_is_told(tmp_path: Path) -> None:
    recipe = tmp_path / "prepare.yaml"
    recipe.write_text("{sources: {one: {path: none.jsonl}}, output: corpus, tokenizer: none}")
    with pytest.raises(CommandFailed, match=r"none\.jsonl: there is no such file or folder") as failed:
        prepare(recipe)
    assert failed.value.status == WRONG_USE
    with pytest.raises(CommandFailed, match=r"prepare\.yaml: seed = -1"):
        prepare(recipe, changes=["seed=-1"])
