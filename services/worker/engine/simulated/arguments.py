"""Arguments that satisfy a bound schema, as short as they can be: what a forced call has without a model.

It knows the schemas that the gateway makes (`gateway/openai/bound_schema.py`), not all of JSON Schema.
"""

import math
from typing import Any

from services.worker.engine.contract import InvalidPrompt

_MAX_DEPTH = 32
_MAX_LENGTH = 1024
_FORMATS = {
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com",
}


def shortest(schema: dict[str, Any]) -> Any:
    """Returns a short value that satisfies a bound schema.

    Raises:
        InvalidPrompt: a text must match a pattern, which this engine cannot invent.
    """
    value = _value(schema, schema.get("$defs", {}), _MAX_DEPTH)
    if value is _NONE:
        raise InvalidPrompt("the simulated engine cannot invent these arguments: use a script", "tools")
    return value


_NONE = object()


def _value(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Any:
    least = max(schema.get(name, 0) for name in ("minLength", "minItems", "minProperties"))
    if depth == 0 or least > _MAX_LENGTH:
        return _NONE
    if "$ref" in schema:
        return _value(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, depth - 1)
    if "anyOf" in schema:
        values = (_value(branch, definitions, depth - 1) for branch in schema["anyOf"])
        return next((value for value in values if value is not _NONE), _NONE)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return _object(schema, definitions, depth)
        case "array":
            return _array(schema, definitions, depth)
        case "string":
            return _string(schema)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case _:
            return None


def _object(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Any:
    properties = schema.get("properties", {})
    least = schema.get("minProperties", 0)
    others = [name for name in properties if name not in schema.get("required", ())]
    wanted = [*schema.get("required", ()), *others[: max(0, least - len(schema.get("required", ())))]]
    made = {name: _value(properties[name], definitions, depth - 1) for name in wanted}
    rest = schema.get("additionalProperties", False)
    if len(made) < least and rest is False:
        return _NONE
    for number in range(len(made), least):
        made[f"x{number}"] = _value(rest if isinstance(rest, dict) else {}, definitions, depth - 1)
    return _NONE if any(value is _NONE for value in made.values()) else made


def _array(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Any:
    least, prefix = schema.get("minItems", 0), schema.get("prefixItems", [])
    items = [*prefix, *[schema.get("items")] * (least - len(prefix))][:least]
    made = [_value(item if isinstance(item, dict) else {}, definitions, depth - 1) for item in items]
    return _NONE if any(value is _NONE for value in made) else made


def _string(schema: dict[str, Any]) -> Any:
    if "pattern" in schema:
        return _NONE
    if "format" in schema:
        return _FORMATS.get(schema["format"], "")
    return "a" * schema.get("minLength", 0)


def _number(schema: dict[str, Any]) -> Any:
    """Returns 0 or what is nearest to it, and between two bounds that exclude themselves, their middle."""
    low = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    high = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    if schema["type"] == "integer":
        return max(low, min(high, 0)) if low > -math.inf or high < math.inf else 0
    if low < 0 < high:
        return 0
    if low == -math.inf or high == math.inf:
        return low + 1 if high == math.inf else high - 1
    return (low + high) / 2
