"""A wrong recipe is told by file, key and value."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared.settings import WrongSettings
from trainer.learning_recipe import Adapter, LearningRecipe
from trainer.recipe import Recipe
from trainer.recipe_file import load, parse

GOOD: dict[str, Any] = {"base": "tiny", "method": "sft", "data": "chats.jsonl", "steps": 3, "learning_rate": 0.001}
GPTQ: dict[str, Any] = {
    "method": "quantize",
    "algorithm": "gptq",
    "precision": "int4",
    "steps": None,
    "learning_rate": None,
}
DISTILL: dict[str, Any] = {"method": "distill", "teacher": {"model": "big"}}


def written(folder: Path, **changed: Any) -> Path:
    file = folder / "recipe.yaml"
    given = {**GOOD, **changed}
    if given["method"] == "quantize":
        given = {key: value for key, value in given.items() if value is not None}
    file.write_text(yaml.safe_dump(given))
    return file


@pytest.mark.parametrize("file", sorted(Path("trainer/recipes").glob("*.yaml")), ids=lambda file: file.name)
def test_our_own_recipes_are_right_and_find_their_data(file: Path) -> None:
    data = load(file).data
    assert isinstance(data, Path)
    assert data.is_file()


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
        ({"method": "sftt"}, "method = 'sftt': it is one of sft, dpo"),
        ({"method": "dpo", "label_smoothing": 0.1}, "label_smoothing is for loss: robust"),
        ({"method": "dpo", "adapter": {"dropout": 0.1}}, "adapter.dropout is set, and DPO"),
        ({"method": "dpo", "packing": True}, "packing = True: unknown key"),
        ({"method": "dpo", "loss": "simpo"}, "loss = 'simpo'"),
        ({"load_in_4bit": True, "dtype": "bfloat16"}, "weights of 4 bits cannot learn: set adapter"),
        ({"load_in_4bit": True, "adapter": {}}, "computes in bfloat16, and dtype is float32"),
        ({"load_in_4bit": True, "adapter": {}, "dtype": "bfloat16", "method": "reward"}, "and that is reward"),
        ({**GPTQ, "precision": "int8"}, "algorithm: gptq makes precision: int4, and that is int8"),
        ({**GPTQ, "data": None}, "algorithm: gptq needs data to look at"),
        ({"method": "kto", "batch": 1}, "batch = 1"),
        ({"method": "kto", "adapter": {"dropout": 0.1}}, "KTO compares with the base without dropout"),
        ({"method": "reward", "adapter": {"dropout": 0.1}}, "reward models without dropout"),
        ({"method": "reward", "publish": {"name": "a", "rollout": True}}, "no pool of this version serves it"),
        ({"method": "reward", "adapter": {}, "publish": {"name": "a", "adapter": True}}, "as an adapter"),
        ({**DISTILL, "teacher": None}, "teacher"),
        ({**DISTILL, "student": {}, "adapter": {}}, "a student begins with random weights"),
        ({**DISTILL, "student": {}, "publish": {"name": "a", "rollout": True}}, "serves no pool of its own"),
        ({**DISTILL, "student": {}, "publish": {"name": "tiny"}}, "publish.name = 'tiny' is the base's"),
        ({**DISTILL, "student": {"hidden_size": 100, "num_attention_heads": 3}}, "no even multiple of num_att"),
        ({**DISTILL, "student": {"num_key_value_heads": 3}}, "no multiple of num_key_value_heads = 3"),
        ({"method": None}, "method = None: it is one of sft"),
        ({"lora": {"r": 4}}, "lora"),
        ({"publish": {"name": "a", "adapter": True}}, "without adapter all weights learn"),
        ({"publish": {"name": "a", "adapter": True}, "adapter": {"dora": True}}, "engines apply no DoRA"),
        ({"publish": {"name": "a", "merged": False}}, "nothing would be published"),
        ({"publish": {"name": "a", "merged": False, "adapter": True, "rollout": True}}, "needs merged"),
        ({"publish": {"name": "a" * 60, "adapter": True}}, "not a model reference"),
        ({"warmup_steps": 3, "warmup_ratio": 0.1}, "one of warmup_steps and warmup_ratio"),
        ({"min_lr_ratio": 0.1}, "min_lr_ratio is for lr_scheduler_type: cosine"),
        ({"early_stopping_patience": 2}, "needs eval_every"),
        ({"early_stopping_patience": 2, "eval_every": 10}, "set save_every = 10"),
        ({"adapter": {"targets": []}}, "adapter.targets"),
        ({"publish": {"name": "a", "alias": "latest"}}, "promote a candidate --alias latest"),
        ({"held_out": 0.9}, "held_out = 0.9"),
        ({"adapter": {"targets": "some"}}, "targets"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongSettings, match=r"recipe\.yaml: ") as error:
        load(written(tmp_path, **changed))
    assert told in str(error.value)


def learning(recipe: Recipe) -> LearningRecipe:
    assert isinstance(recipe, LearningRecipe)
    return recipe


def test_a_recipe_of_an_older_release_is_read_as_it_was_meant(tmp_path: Path) -> None:
    recipe = learning(load(written(tmp_path, method="lora", lora={"r": 4})))
    assert (recipe.method, recipe.adapter) == ("sft", Adapter(r=4))
    assert learning(load(written(tmp_path, method="lora"))).adapter == Adapter()
    assert learning(load(written(tmp_path, lora=None))).adapter is None


@pytest.mark.parametrize("method", ["sft", "dpo", "reward"])
def test_a_recipe_travels_with_its_job(tmp_path: Path, method: str) -> None:
    recipe = load(written(tmp_path, method=method, adapter={"r": 4}, publish={"name": "a"}))
    assert parse(json.loads(recipe.model_dump_json())) == recipe


def test_keys_of_a_recipe_are_changed_on_the_command_line(tmp_path: Path) -> None:
    changes = ["steps=9", "adapter.r=8", "adapter.targets=[q_proj]", "dtype=bfloat16"]
    recipe = learning(load(written(tmp_path, adapter={"r": 4, "alpha": 5}), changes))
    assert (recipe.steps, recipe.dtype) == (9, "bfloat16")
    assert recipe.adapter == Adapter(r=8, alpha=5, targets=("q_proj",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("steps", "--set steps: write KEY=VALUE"),
        ("=3", "--set =3: write KEY=VALUE"),
        ("steps=[", "--set steps=["),
        ("stepps=3", "recipe.yaml: stepps = 3: unknown key"),
        ("steps=x", "recipe.yaml: steps = 'x'"),
    ],
)
def test_a_wrong_change_is_told(tmp_path: Path, change: str, told: str) -> None:
    with pytest.raises(WrongSettings, match=re.escape(told)):
        load(written(tmp_path), [change])


@pytest.mark.parametrize("content", ["", "- a", "a: [", "\x00"])
def test_what_is_no_recipe_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(WrongSettings, match=r"recipe\.yaml"):
        load(tmp_path / "recipe.yaml")
