"""Pydantic's findings in plain words. Clients see these sentences, and never pydantic's own."""

import re
from collections.abc import Mapping
from typing import Any

_STRING, _INTEGER, _NUMBER = "must be a string", "must be an integer", "must be a number"
_BOOLEAN, _ARRAY, _OBJECT = "must be true or false", "must be an array", "must be an object"

TYPES: dict[str, str] = {
    "string_type": _STRING,
    "string_sub_type": _STRING,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "list_type": _ARRAY,
    "tuple_type": _ARRAY,
    "set_type": _ARRAY,
    "frozen_set_type": _ARRAY,
    "iterable_type": _ARRAY,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
}
"""What is wrong is the type. Each text begins with `must be`."""

_TEXTS: dict[str, str] = {
    "none_required": "must be left out",
    "string_unicode": "must be valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "int_parsing_size": "must be an integer of at most 64 bits",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "missing": "is missing",
    "union_tag_not_found": "is missing",
    "extra_forbidden": "is unknown",
    "recursion_loop": "must not contain itself",
}
_ONE = re.compile(r"\b1 (item|character)s")
_OTHERWISE = "is not valid"
_JSON = {"True": "true", "False": "false", "None": "null"}


def text(kind: str, context: Mapping[str, Any]) -> str:
    """Returns what is wrong, as the end of a sentence that begins with the parameter.

    Args:
        kind: pydantic's name of the error.
        context: pydantic's values for it, such as the limit.
    """
    match kind:
        case "value_error" | "assertion_error":
            return str(context["error"])
        case "literal_error" | "enum":
            return _one_of(context["expected"])
        case "union_tag_invalid":
            return _one_of(context["expected_tags"])
        case "too_short" | "string_too_short" if context["min_length"] == 1:
            return "must not be empty"
    shown = (TYPES.get(kind) or _TEXTS.get(kind, _OTHERWISE)).format_map(
        {name: _plain(value) for name, value in context.items()}
    )
    return _ONE.sub(r"1 \1", shown)


def either(texts: list[str]) -> str:
    """Joins what the alternatives of one value say: `must be a string` and `must be an array` are one sentence."""
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _plain(value: Any) -> Any:
    """Limits of numbers come as floats, even where they are whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _one_of(expected: str) -> str:
    """Values are shown as JSON has them. A single one needs no `one of`."""
    expected = _JSON.get(expected, expected)
    expected = expected.replace(" or ", ", ")
    return f"must be one of {expected}" if ", " in expected else f"must be {expected}"
