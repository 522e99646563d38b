"""Recipes of pretraining: where a run begins, and the shape of a new model."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.shared.manifests import Measured
from services.shared.settings import WrongSettings
from trainer import gate
from trainer.gate import Worse
from trainer.pretrain_recipe import PretrainRecipe
from trainer.recipe import Gate
from trainer.recipe_file import load, parse
from trainer.record import settings

KEYS: dict[str, Any] = {"method": "pretrain", "data": "texts", "steps": 10, "learning_rate": 0.001}
HEADS = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}


def recipe(**changed: Any) -> PretrainRecipe:
    made = parse({**KEYS, **changed})
    assert isinstance(made, PretrainRecipe)
    return made


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "one of model and base says where the run begins"),
        ({"base": "m", "model": {"size": "1m"}}, "one of model and base says where the run begins"),
        ({"base": "m", "tokenizer": "t"}, "tokenizer is for a new model, and m has its own"),
        ({"base": "m", "chat_template": "{{ 1 }}"}, "chat_template is for a new model"),
        ({"model": {"size": "1m"}, "adapter": {}}, "a new model has nothing that an adapter could change"),
        ({"model": {"size": "2m"}}, "model.size = '2m'"),
        ({"model": {"hidden_size": 64}}, "num_hidden_layers is not set: name a size, or set hidden_size"),
        ({"model": {**HEADS, "hidden_size": 100}}, "no multiple of twice num_attention_heads = 4"),
        ({"model": {**HEADS, "num_key_value_heads": 3}}, "no multiple of num_key_value_heads = 3"),
        ({"model": {**HEADS, "max_position_embeddings": 64}}, "max_length = 1024 is more than that"),
        ({"base": "m", "weights": {"web": 0}}, "weights.web = 0"),
    ],
)
def test_a_wrong_beginning_or_shape_is_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongSettings) as error:
        recipe(**changed)
    assert told in str(error.value)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_other_methods_need_a_base(method: str) -> None:
    for base in ({}, {"base": None}):
        with pytest.raises(WrongSettings, match="base"):
            parse({**KEYS, "method": method, **base})


def test_keys_beside_a_size_change_parts_of_it() -> None:
    made = recipe(model={"size": "135m", "num_hidden_layers": 3, "tie_word_embeddings": False})
    assert made.model
    whole = made.model.completed()
    assert (whole.hidden_size, whole.num_hidden_layers, whole.num_key_value_heads) == (576, 3, 3)
    assert (whole.rope_theta, whole.tie_word_embeddings) == (100_000.0, False)


def test_a_folder_of_a_tokenizer_starts_at_the_recipe_and_is_not_told_to_others(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({**KEYS, "model": {"size": "1m"}, "tokenizer": "words"}))
    made = load(file)
    assert isinstance(made, PretrainRecipe)
    assert made.tokenizer == str(tmp_path / "words")
    assert settings(made)["tokenizer"] == "words"
    assert str(tmp_path) not in str(settings(made))


def test_a_model_without_a_base_is_judged_by_itself_alone() -> None:
    alone = Measured(value=3.5, parent=None)
    gate.check(Gate(), alone, "a new model")
    gate.check(Gate(max_loss=3.5), alone, "a new model")
    gate.check(Gate(max_loss=3.0, publish_worse=True), alone, "a new model")
    with pytest.raises(Worse, match=r"held-out loss is 3\.5000, more than gate\.max_loss = 3 allows"):
        gate.check(Gate(max_loss=3.0), alone, "a new model")
    with pytest.raises(Worse, match=r"gate\.max_loss = 3 allows"):
        gate.check(Gate(max_loss=3.0), Measured(value=3.5, parent=4.0), "m")
