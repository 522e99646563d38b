"""What several processes may share, and what not."""

from typing import Any

import pytest

from trainer.errors import Unfit
from trainer.learning_recipe import LearningRecipe
from trainer.processes import check, check_devices
from trainer.recipe_file import parse

RECIPE = {"base": "tiny", "method": "sft", "data": "chats.jsonl", "steps": 3, "learning_rate": 0.001}


def made(**changed: Any) -> LearningRecipe:
    recipe = parse({**RECIPE, **changed})
    assert isinstance(recipe, LearningRecipe)
    return recipe


@pytest.mark.parametrize(
    ("changed", "count", "told"),
    [
        ({"parallel": {"strategy": "ddp"}}, 1, r"parallel.strategy = ddp: .* Call with --processes 2"),
        ({"method": "kto"}, 2, "method: kto, and 2 processes"),
        ({"batch": 3}, 2, "batch = 3: 2 processes cannot share it evenly"),
        ({"batch": 2}, 4, "set a multiple of 4"),
    ],
)
def test_what_does_not_go_together_is_told(changed: dict[str, Any], count: int, told: str) -> None:
    with pytest.raises(Unfit, match=told):
        check(made(**changed), count)


def test_a_batch_is_shared() -> None:
    check(made(batch=4), 1)
    check(made(batch=4, parallel={}), 2)


def test_each_process_has_a_gpu_of_its_own_where_there_are_any() -> None:
    check_devices(4, 0)
    check_devices(2, 2)
    with pytest.raises(Unfit, match=r"--processes 4: .* this machine shows 2"):
        check_devices(4, 2)


def test_how_processes_share_a_run_does_not_make_it_another_run() -> None:
    """A recipe of an older release, whose run is gone on with, has no such key."""
    assert "parallel" not in made().model_dump(mode="json")
