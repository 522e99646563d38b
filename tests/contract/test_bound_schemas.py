"""Bound schemas on the real xgrammar: whatever a model picks satisfies the function's own schema."""

import json
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from services.gateway.openai.schemas.bound_schema import bound_schema
from services.gateway.openai.schemas.budget import Budget
from tests.support.grammar_walk import compiler, of_schema, walk
from tests.support.schemas import BINDABLE

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("schema", BINDABLE, ids=lambda schema: json.dumps(schema)[:60])
def test_what_the_grammar_lets_through_is_valid(schema: Any) -> None:
    grammar = of_schema(bound_schema(schema, "look", Budget()))(compiler())
    for seed in range(3):
        arguments = json.loads(walk(grammar, Random(seed)))
        assert isinstance(arguments, dict)
        assert jsonschema_rs.is_valid({"maxProperties": 0} if schema is None else schema, arguments), arguments
