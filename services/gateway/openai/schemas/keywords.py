"""The keywords of JSON schemas that bind, of any draft, in the words of the newest one.

What only annotates is left out, as JSON Schema has it for keywords that are not known. What would bind and that no
grammar can express is refused by its name.
"""

import math
from collections.abc import Callable
from typing import Any

import orjson

from services.gateway.openai.schemas.problem import SchemaProblem

Node = dict[str, Any]

_SORTED = orjson.OPT_SORT_KEYS
_EXACT = 2**53
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
GROUPS: dict[str, tuple[str, ...]] = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}  # fmt: skip
"""The keywords that bind values of one type."""
_NOT_EXPRESSED = (
    "not", "if", "dependentRequired", "dependentSchemas", "dependencies", "contains", "uniqueItems", "multipleOf",
    "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_FORMATS = frozenset(
    {
        "email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid", "uri", "uri-reference",
        "uri-template", "json-pointer", "relative-json-pointer",
    }
)  # fmt: skip
"""Formats that the grammar compiler knows; a format only annotates, so others are left out."""


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_named_schemas(value: Any) -> bool:
    return isinstance(value, dict)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_type(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else bool(value) and _is_names(value) and set(value) <= set(TYPES)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_BINDING: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "enum": _is_list,
    "$ref": _is_text,
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _is_schemas),
    **dict.fromkeys(("properties", "patternProperties"), _is_named_schemas),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _is_schema),
    "required": _is_names,
    **dict.fromkeys(("minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"), _is_count),
    **dict.fromkeys(GROUPS["number"], _is_number),
    **dict.fromkeys(("pattern", "format"), _is_text),
}
"""Keywords that bind, and whether a value is one that they can have."""


def plain(schema: Node, path: str) -> Node:
    """Returns what binds in one schema, without looking into the schemas within.

    Raises:
        SchemaProblem: a keyword would bind and cannot be expressed, or has a value that it cannot have.
    """
    found = _modern(schema)
    if path and not str(found.get("$id", "#")).startswith("#"):
        raise SchemaProblem("$id", path, "begins another document, whose references cannot be followed")
    for keyword in _NOT_EXPRESSED:
        if keyword in found and not _is_trivial(keyword, found):
            raise SchemaProblem(keyword, path, "cannot be held by a grammar")
    kept = {keyword: value for keyword, value in found.items() if keyword in _BINDING}
    for keyword, value in kept.items():
        if not _BINDING[keyword](value):
            raise SchemaProblem(keyword, path, "has a value that JSON Schema does not know")
    if kept.get("format", "uri") not in _FORMATS or "pattern" in kept or {"minLength", "maxLength"} & kept.keys():
        kept.pop("format", None)
    return kept


def _modern(schema: Node) -> Node:
    """Returns a schema in the words of draft 2020-12; null is not set, as everywhere in requests."""
    found = {key: value for key, value in schema.items() if value is not None or key in ("const", "enum")}
    if "const" in found:
        constant = found.pop("const")
        found["enum"] = [value for value in found.get("enum") or [constant] if key(value) == key(constant)]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(found.get(exclusive), bool) and found.pop(exclusive) and bound in found:
            found[exclusive] = found.pop(bound)
    if isinstance(found.get("items"), list):
        prefix, rest = found.pop("items"), found.pop("additionalItems", True)
        found |= {"prefixItems": prefix, "items": rest} if prefix else {"items": rest}
    return found


def key(value: Any) -> bytes:
    """Returns what is the same for JSON values that are: 1.0 is 1, and true is not."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return orjson.dumps(int(value) if whole else value, option=_SORTED)


def _is_trivial(keyword: str, schema: Node) -> bool:
    """Whether a keyword that cannot be expressed asks for nothing here."""
    value = schema[keyword]
    match keyword:
        case "uniqueItems":
            return value is False
        case "multipleOf":
            return schema.get("type") == "integer" and _is_number(value) and value != 0 and bool(1 % value == 0)
        case "unevaluatedProperties":
            # Objects with properties are closed anyway.
            return value is True or (value is False and bool(schema.get("properties")))
        case "unevaluatedItems":
            return value is True
        case "not":
            return value is False
        case "if":
            return "then" not in schema and "else" not in schema
        case _:
            return bool(value == {})
