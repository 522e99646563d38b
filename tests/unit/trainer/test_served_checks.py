"""What an answer of the served candidate must be like."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from trainer.errors import Unfit
from trainer.evaluation_plan import ServedCheck
from trainer.recipe_file import parse
from trainer.served_checks import check_schemas, judge

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    ("expected", "answer", "wrong"),
    [
        ({"pattern": "Paris"}, "It is Paris.", None),
        ({"pattern": "^Paris"}, "It is Paris.", "does not match '\\^Paris'"),
        ({"pattern": "Paris"}, None, "the gateway refused the question"),
        ({"json_schema": SCHEMA}, '{"city": "Paris"}', None),
        ({"json_schema": SCHEMA}, '{"town": "Paris"}', "does not fit json_schema"),
        ({"json_schema": SCHEMA}, "Paris", "is not JSON"),
        ({"json_schema": SCHEMA, "pattern": "Rome"}, '{"city": "Paris"}', "does not match"),
    ],
)
def test_an_answer(expected: dict[str, Any], answer: str | None, wrong: str | None) -> None:
    told = judge(ServedCheck(prompt="What is the capital of France?", **expected), answer)
    assert (told is None) == (wrong is None)
    assert wrong is None or re.search(wrong, told or "")


def test_checks_that_cannot_be_meant() -> None:
    for wrong, said in (({}, "needs pattern or json_schema"), ({"pattern": "("}, "no regular expression")):
        with pytest.raises(ValidationError, match=said):
            ServedCheck(prompt="x", **wrong)
    with pytest.raises(Unfit, match=r"evaluate\.served: capital: json_schema"):
        check_schemas([ServedCheck(name="capital", prompt="x", json_schema={"type": "town"})])


def test_a_recipe_that_rolls_nothing_out_has_nothing_to_ask() -> None:
    evaluate = {"served": [{"prompt": "x", "pattern": "y"}]}
    merge = {"base": "a", "method": "merge", "merge_method": "slerp", "models": [{"model": "b"}]}
    with pytest.raises(Exception, match=r"set publish\.rollout: true"):
        parse({**merge, "evaluate": evaluate, "publish": {"name": "a"}})
    rolled_out = parse({**merge, "evaluate": evaluate, "publish": {"name": "a", "rollout": True}})
    assert rolled_out.evaluate
    assert rolled_out.evaluate.served[0].pattern == "y"
