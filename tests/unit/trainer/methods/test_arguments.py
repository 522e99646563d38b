"""What a recipe says in the words of transformers."""

from pathlib import Path
from typing import Any

import pytest

from trainer.learning_recipe import LearningRecipe
from trainer.methods.arguments import arguments
from trainer.recipe_file import parse

RECIPE = {"base": "tiny", "method": "sft", "data": "chats.jsonl", "steps": 3, "learning_rate": 0.001}


def made(**changed: Any) -> dict[str, Any]:
    recipe = parse({**RECIPE, **changed})
    assert isinstance(recipe, LearningRecipe)
    return arguments(recipe, Path("run"), cpu=True)


def test_bfloat16_is_mixed_precision() -> None:
    """With weights in bfloat16 a small update is rounded away, and hardly anything is learnt."""
    assert (made(dtype="bfloat16")["bf16"], made()["bf16"]) == (True, False)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {"lr_scheduler_type": "linear", "warmup_steps": 0}),
        ({"warmup_ratio": 0.1}, {"lr_scheduler_type": "linear", "warmup_steps": 0.1}),
        ({"warmup_steps": 7}, {"warmup_steps": 7}),
        (
            {"lr_scheduler_type": "cosine"},
            {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        ),
        ({"lr_scheduler_type": "constant"}, {"lr_scheduler_type": "constant"}),
        ({"lr_scheduler_type": "constant", "warmup_steps": 2}, {"lr_scheduler_type": "constant_with_warmup"}),
        ({}, {"max_grad_norm": 1.0, "weight_decay": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999}),
        ({"gradient_accumulation_steps": 4, "batch": 2}, {"gradient_accumulation_steps": 4}),
        ({}, {"eval_strategy": "no"}),
        ({"eval_every": 5}, {"eval_strategy": "steps", "eval_steps": 5}),
        (
            {"eval_every": 5, "save_every": 5, "early_stopping_patience": 2},
            {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False},
        ),
    ],
)
def test_keys_become_arguments(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    found = made(**changed)
    assert {name: found[name] for name in expected} == expected
