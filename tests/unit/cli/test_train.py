"""`tidegate train`: what a wrong call is told, and how a refused result ends."""

from pathlib import Path

import pytest
import yaml

from services.cli.commands import train
from services.cli.errors import REFUSED, WRONG_USE, CommandFailed
from trainer.gate import Worse
from trainer.recipe_file import METHODS, parse
from trainer.run import Run


def test_a_recipe_to_start_from_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    train.init("dpo")
    assert parse(yaml.safe_load(capsys.readouterr().out)).method == "dpo"


def test_an_unknown_method_is_told_with_those_that_there_are() -> None:
    with pytest.raises(CommandFailed, match=f"there is no method ppo: it is one of {', '.join(METHODS)}") as error:
        train.init("ppo")
    assert error.value.status == WRONG_USE


def test_a_wrong_change_of_a_recipe_is_told(tmp_path: Path) -> None:
    recipe = Path("trainer/recipes/quillhaven.yaml")
    with pytest.raises(CommandFailed, match=r"wrong recipe:\n.*quillhaven\.yaml: stepps = 3: unknown key"):
        train.run(recipe, ["stepps=3"], output=tmp_path)


def test_a_result_that_the_gate_refuses_has_an_exit_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> None:
        raise Worse("the gate refuses the result")

    monkeypatch.setattr(Run, "make", refuse)
    monkeypatch.setattr(train, "_registrar", lambda _: None)
    with pytest.raises(CommandFailed, match="the gate refuses") as error:
        train.run(Path("trainer/recipes/quillhaven.yaml"), output=tmp_path)
    assert error.value.status == REFUSED
