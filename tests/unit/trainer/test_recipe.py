"""A wrong recipe is told by file, key and value."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared.settings import WrongSettings
from trainer.recipe import load

GOOD: dict[str, Any] = {"base": "tiny", "method": "lora", "data": "chats.jsonl", "steps": 3, "learning_rate": 0.001}


def written(folder: Path, **changed: Any) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**GOOD, **changed}))
    return file


@pytest.mark.parametrize("file", sorted(Path("trainer/recipes").glob("*.yaml")), ids=lambda file: file.name)
def test_our_own_recipes_are_right_and_find_their_data(file: Path) -> None:
    assert load(file).data.is_file()


def test_data_lies_beside_the_recipe(tmp_path: Path) -> None:
    assert load(written(tmp_path)).data == tmp_path / "chats.jsonl"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"learning_rat": 1}, "learning_rat = 1: unknown key"),
        ({"learning_rate": 0}, "learning_rate = 0"),
        ({"base": "No Such"}, "base = 'No Such'"),
        ({"epochs": 1}, "one of steps and epochs"),
        ({"steps": None}, "one of steps and epochs"),
        ({"method": "sft", "lora": {"r": 4}}, "method is sft"),
        ({"method": "sft", "publish": {"name": "a", "adapter": True}}, "makes no adapter"),
        ({"publish": {"name": "a", "merged": False}}, "nothing would be published"),
        ({"publish": {"name": "a", "merged": False, "adapter": True, "rollout": True}}, "needs merged"),
        ({"publish": {"name": "a" * 60, "adapter": True}}, "not a model reference"),
        ({"publish": {"name": "a", "alias": "latest"}}, "promote a candidate --alias latest"),
        ({"held_out": 0.9}, "held_out = 0.9"),
        ({"lora": {"targets": "some"}}, "targets"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongSettings, match=r"recipe\.yaml: ") as error:
        load(written(tmp_path, **changed))
    assert told in str(error.value)


@pytest.mark.parametrize("content", ["", "- a", "a: [", "\x00"])
def test_what_is_no_recipe_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(WrongSettings, match=r"recipe\.yaml"):
        load(tmp_path / "recipe.yaml")
