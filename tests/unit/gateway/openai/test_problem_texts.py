"""Every error that a model of a request can raise has a plain sentence, and none speaks pydantic's language."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core.core_schema import ErrorType

import services.gateway.app  # noqa: F401 -- it imports all requests
from services.gateway.http.routes.admin import AdminBody
from services.gateway.openai import problem_texts
from services.gateway.openai.fields import Request

JARGON = re.compile(
    r"[Pp]ydantic|[Ii]nput|[Rr]equired|[Ee]xtra|permitted|should|\b(?:[Ll]ist|[Dd]ict|[Dd]ictionary|[Tt]uple|[Ss]et|"
    r"instance|bool|int|str|float|boolean|None|True|False|model|tag|discriminator|literal|mapping)\b"
)
CONTEXT: dict[str, Any] = {
    "min_length": 2, "max_length": 3, "actual_length": 4, "field_type": "List", "pattern": "^a$", "multiple_of": 5.0,
    "ge": 0.0, "gt": 0.5, "le": 7, "lt": 8, "expected": "'a', 'b' or 'c'", "expected_tags": "'a', 'b'", "tag": "x",
    "discriminator": "'type'", "error": ValueError("is odd"),
}  # fmt: skip
COMMON = ("missing", "extra_forbidden")
RAISED: dict[str, tuple[str, ...]] = {
    "model": ("model_type", "model_attributes_type"),
    "dict": ("dict_type", "too_long", "too_short"),
    "list": ("list_type", "too_short", "too_long"),
    "str": ("string_type", "string_too_short", "string_too_long", "string_pattern_mismatch", "string_unicode"),
    "int": ("int_type", "int_from_float", "int_parsing_size", "greater_than_equal", "less_than_equal"),
    "float": ("float_type", "finite_number", "greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    "bool": ("bool_type",),
    "literal": ("literal_error",),
    "none": ("none_required",),
    "tagged-union": ("union_tag_invalid", "union_tag_not_found"),
    "function-before": ("value_error",),
    "function-after": ("value_error",),
    "function-wrap": ("value_error",),
}
"""The errors that each kind of schema can raise."""
SILENT = {
    "model-fields", "model-field", "default", "no-info", "with-info", "nullable", "any", "union", "definitions",
    "definition-ref",
}  # fmt: skip


def kinds(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def schemas(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield node["type"]
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from schemas(value)


def test_every_error_that_a_request_can_raise_has_a_text_of_its_own() -> None:
    models = [*kinds(Request), *kinds(AdminBody)]
    assert len(models) > 40
    used = {schema for model in models for schema in schemas(model.__pydantic_core_schema__)} - SILENT
    assert used <= RAISED.keys(), "a new kind of schema: which errors can it raise?"
    raised = {error for schema in used for error in RAISED[schema]}
    texts = {error: problem_texts.text(error, CONTEXT) for error in {*raised, *COMMON}}
    assert [error for error, text in texts.items() if text == problem_texts.text("no_such_error", {})] == []


@pytest.mark.parametrize("error", get_args(ErrorType))
def test_no_text_is_in_the_words_of_pydantic(error: str) -> None:
    text = problem_texts.text(error, CONTEXT)
    assert text[0].islower()
    assert not text.endswith(".")
    assert not JARGON.search(text), text


@pytest.mark.parametrize(
    ("error", "context", "text"),
    [
        ("string_type", {}, "must be a string"),
        ("less_than_equal", {"le": 2.0}, "must be at most 2"),
        ("greater_than", {"gt": 0.5}, "must be greater than 0.5"),
        ("too_short", {"min_length": 1}, "must not be empty"),
        ("too_short", {"min_length": 2}, "must have at least 2 items"),
        ("too_long", {"max_length": 1}, "must have at most 1 item"),
        ("literal_error", {"expected": "'a'"}, "must be 'a'"),
        ("literal_error", {"expected": "'a', 'b' or 'c'"}, "must be one of 'a', 'b', 'c'"),
        ("literal_error", {"expected": "True"}, "must be true"),
        ("union_tag_invalid", {"expected_tags": "'a', 'b'"}, "must be one of 'a', 'b'"),
        ("value_error", {"error": ValueError("is odd")}, "is odd"),
    ],
)
def test_texts(error: str, context: dict[str, Any], text: str) -> None:
    assert problem_texts.text(error, context) == text


def test_alternatives_are_one_sentence() -> None:
    assert problem_texts.either(["must be a string", "must be an array"]) == "must be a string or an array"
    assert problem_texts.either(["must be a string", "must be a string"]) == "must be a string"
