"""Schemas that hold the arguments of calls: what they allow, and which keyword is named where none can."""

import time
from typing import Any

import jsonschema_rs
import pytest

from services.gateway.openai.schemas.bound_schema import bound_schema
from services.gateway.openai.schemas.budget import Budget
from services.gateway.openai.schemas.problem import SchemaProblem
from services.worker.engine.simulated.arguments import shortest
from tests.support.schemas import BINDABLE, INTEGER, STRING, obj


def bind(schema: Any) -> dict[str, Any]:
    return bound_schema(schema, "look", Budget())


@pytest.mark.parametrize("schema", [schema for schema in BINDABLE if "pattern" not in str(schema)])
def test_the_shortest_arguments_are_valid(schema: Any) -> None:
    bound = bind(schema)
    arguments = shortest(bound)
    assert isinstance(arguments, dict)
    assert jsonschema_rs.is_valid(bound, arguments)
    assert jsonschema_rs.is_valid({"maxProperties": 0} if schema is None else schema, arguments)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (obj(a=INTEGER) | {"required": None}, {"type": "object", "properties": {"a": INTEGER}}),
        (obj(a={"minimum": 1, "exclusiveMinimum": True}), obj(a={"exclusiveMinimum": 1})),
        (obj(a={"items": [INTEGER], "additionalItems": False}), obj(a={"prefixItems": [INTEGER], "items": False})),
        (obj(a={"type": "string", "nullable": True, "x-order": 1}), obj(a=STRING)),
    ],
)
def test_any_draft_is_read(old: Any, new: Any) -> None:
    assert bind(old) == bind(new)


CYCLE = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
TYPED_CYCLE = {"$defs": {"a": {"$ref": "#/$defs/b", "type": "object"}, "b": {"$ref": "#/$defs/a", "minItems": 1}}}


@pytest.mark.parametrize(
    ("schema", "keyword", "path"),
    [
        (False, "type", ""),
        (STRING, "type", ""),
        ({"type": "object", "not": STRING}, "not", ""),
        (obj(a={"type": "array", "uniqueItems": True}), "uniqueItems", "/properties/a"),
        (obj(a={"type": "number", "multipleOf": 0.5}), "multipleOf", "/properties/a"),
        (obj(a={"if": {}, "then": STRING}), "if", "/properties/a"),
        (obj(a={"dependentRequired": {"a": ["b"]}}), "dependentRequired", "/properties/a"),
        (obj(a={"type": "strng"}), "type", "/properties/a"),
        (obj(a=7), "type", "/properties/a"),
        ({"properties": 7}, "properties", ""),
        (obj(a={"oneOf": [INTEGER, {"minimum": 2}]}), "oneOf", "/properties/a"),
        (obj(a={"type": "string", "pattern": "(?=a)b"}), "pattern", "/properties/a"),
        (obj(a={"type": "string", "pattern": 'a"b'}), "pattern", "/properties/a"),
        (obj(a={"type": "string", "pattern": "a(?:^b)"}), "pattern", "/properties/a"),
        (obj(a={"enum": [1e30, 1], "const": 2, "$id": "https://example.com/a"}), "$id", "/properties/a"),
        (obj(a={"type": "string", "pattern": "a", "maxLength": 3}), "maxLength", "/properties/a"),
        (obj(a={"$ref": "https://example.com/x"}), "$ref", "/properties/a"),
        (obj(a={"$ref": "#/nope"}), "$ref", "/properties/a"),
        (obj(a={"$ref": "#nope"}), "$ref", "/properties/a"),
        (obj(a={"$ref": "#/$defs/a"}) | CYCLE, "$ref", "/properties/a"),
        (obj(a={"$ref": "#/$defs/a"}) | TYPED_CYCLE, "$ref", "/$defs/a"),
        # It refers to itself where it must have a value, so no value ends.
        (obj(a={"$ref": "#"}), "$ref", ""),
        ({"allOf": [obj(a=INTEGER) | {"additionalProperties": False}, obj(b=INTEGER)]}, "additionalProperties", ""),
    ],
)
def test_what_cannot_bind_is_named(schema: Any, keyword: str, path: str) -> None:
    with pytest.raises(SchemaProblem, match="the keyword") as found:
        bind(schema)
    assert (found.value.keyword, found.value.path) == (keyword, path)


def test_binding_is_bounded_whatever_references_lead_to() -> None:
    twice = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    deep = {f"d{n}": {"properties": {"x": {"$ref": f"#/$defs/d{n + 1}"}}} for n in range(400)}
    began = time.process_time()
    for definitions, last in ((twice, "d30"), (deep, "d400")):
        with pytest.raises(SchemaProblem, match="too large or has no end"):
            bind(obj(a={"$ref": "#/$defs/d0"}) | {"$defs": {**definitions, last: INTEGER}})
    assert time.process_time() - began < 5


def test_one_budget_is_for_all_functions_of_a_request() -> None:
    budget = Budget(parts=10)
    bound_schema(obj(a=INTEGER, b=INTEGER), "one", budget)
    with pytest.raises(SchemaProblem, match="too large"):
        bound_schema(obj(**{f"p{n}": INTEGER for n in range(9)}), "two", budget)


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        ("^a$", "^a$"),
        ("^a", "^a.*$"),
        ("a", "^.*a.*$"),
        ("[$^]", "^.*[$^].*$"),
        (r"\$", r"^.*\$.*$"),
        ("^a|b$", "^a|b$"),
        ("^(a|b)$", "^(a|b)$"),
    ],
)
def test_a_pattern_may_match_anywhere(pattern: str, whole: str) -> None:
    assert bind(obj(a={"type": "string", "pattern": pattern}))["properties"]["a"]["pattern"] == whole


def test_values_are_compared_as_json_has_them() -> None:
    assert bind(obj(a={"enum": [1, True, 1e30], "const": True}))["properties"]["a"] == {"enum": [True]}
    assert bind(obj(a={"allOf": [{"enum": [1e30, 1, 2]}, {"enum": [1.0, 1e30]}]}))["properties"]["a"]["enum"] == [
        1e30,
        1,
    ]
