"""Two JSON schemas that a value must satisfy at once, as one schema."""

from typing import Any

from services.gateway.openai.schemas.keywords import Node, key
from services.gateway.openai.schemas.problem import SchemaProblem

_LARGER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_CLOSING = ("additionalProperties", "patternProperties")
_NOTHING: Node = {"enum": []}


def merge(one: Node, other: Node, path: str) -> Node:
    """Returns the schema of values that satisfy both, which have what `plain` returns, and no `$ref`.

    Raises:
        SchemaProblem: the two have a keyword that cannot be one.
    """
    _check_openness(one, other, path)
    merged = dict(one)
    for keyword, value in other.items():
        merged[keyword] = _both(keyword, merged[keyword], value, path) if keyword in merged else value
    return _NOTHING if merged.get("type") == [] else merged


def _check_openness(one: Node, other: Node, path: str) -> None:
    """What one schema says of all other properties speaks of the properties of the other one too."""
    for closing, open_ in ((one, other), (other, one)):
        for keyword in _CLOSING:
            named = closing.get("properties", {}).keys()
            if closing.get(keyword, True) is not True and not open_.get("properties", {}).keys() <= named:
                raise SchemaProblem(keyword, path, "cannot be one with the properties of another schema")


def _both(keyword: str, one: Any, other: Any, path: str) -> Any:
    if one == other:
        return one
    if keyword in _LARGER:
        return max(one, other)
    if keyword in _SMALLER:
        return min(one, other)
    match keyword:
        case "type":
            return common_types(one, other)
        case "enum":
            options = set(map(key, other))
            return [value for value in one if key(value) in options]
        case "required":
            return list(dict.fromkeys([*one, *other]))
        case "properties":
            return {**one, **other, **{name: _all_of(one[name], other[name]) for name in one.keys() & other.keys()}}
        case "items" | "additionalProperties" | "propertyNames":
            return _all_of(one, other)
        case "format":
            return one
        case _:
            raise SchemaProblem(keyword, path, "is given twice, in a way that cannot be one")


def _all_of(one: Any, other: Any) -> Any:
    return one if one == other else {"allOf": [one, other]}


def types_of(node: Node) -> list[str]:
    """Returns the types that a schema names, as a list."""
    named = node.get("type", [])
    return [named] if isinstance(named, str) else list(named)


def common_types(one: Any, other: Any) -> list[str]:
    """Returns the types that both have; an integer is a number."""
    first, second = types_of({"type": one}), types_of({"type": other})
    kept = [name for name in first if name in second or (name == "integer" and "number" in second)]
    return kept + (["integer"] if "integer" in second and "number" in first and "integer" not in first else [])
