"""Schemas whose values have no parts: listed values, strings and numbers."""

import math

import jsonschema_rs

from services.gateway.openai.schemas.keywords import GROUPS, Node
from services.gateway.openai.schemas.pattern import whole_match
from services.gateway.openai.schemas.problem import SchemaProblem

_INTEGERS = range(-(2**63), 2**63)
_VALUES = {"allOf", "anyOf", "oneOf", "$ref"}


def values(node: Node, path: str) -> Node | None:
    """Keeps the values of an `enum` that satisfy what stands beside it; None: there are none."""
    beside = {keyword: value for keyword, value in node.items() if keyword not in ("enum", *_VALUES)}
    try:
        validator = jsonschema_rs.Draft202012Validator(beside) if beside else None
        kept = [value for value in node["enum"] if validator is None or validator.is_valid(value)]
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        raise SchemaProblem("enum", path, "stands beside keywords that say nothing about its values") from None
    return {"enum": kept} if kept else None


def string(node: Node, path: str) -> Node | None:
    """Binds a schema of strings; None: no string satisfies it."""
    made: Node = {"type": "string"}
    least, most = int(node.get("minLength", 0)), node.get("maxLength")
    if "pattern" in node:
        if least or most is not None:
            keyword = "minLength" if least else "maxLength"
            raise SchemaProblem(keyword, path, "cannot be held together with 'pattern': put it into the pattern")
        return {**made, "pattern": whole_match(node["pattern"], path)}
    if "format" in node:
        return {**made, "format": node["format"]}
    if most is not None and least > most:
        return None
    return made | ({"minLength": least} if least else {}) | ({} if most is None else {"maxLength": int(most)})


def number(name: str, node: Node) -> Node | None:
    """Binds a schema of the type `number` or `integer`; None: no number satisfies it."""
    limits = {keyword: node[keyword] for keyword in GROUPS["number"] if keyword in node}
    low = max(limits.get("minimum", -math.inf), limits.get("exclusiveMinimum", -math.inf))
    high = min(limits.get("maximum", math.inf), limits.get("exclusiveMaximum", math.inf))
    if low > high or (
        low == high and (low == limits.get("exclusiveMinimum") or high == limits.get("exclusiveMaximum"))
    ):
        return None
    if name == "integer":
        return _integer(limits)
    # One lower and one upper bound, whichever binds more.
    made: Node = {"type": "number"}
    if low > -math.inf:
        made["exclusiveMinimum" if low == limits.get("exclusiveMinimum") else "minimum"] = low
    if high < math.inf:
        made["exclusiveMaximum" if high == limits.get("exclusiveMaximum") else "maximum"] = high
    return made


def _integer(limits: Node) -> Node | None:
    lows = [math.ceil(limits["minimum"])] if "minimum" in limits else []
    lows += [math.floor(limits["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in limits else []
    highs = [math.floor(limits["maximum"])] if "maximum" in limits else []
    highs += [math.ceil(limits["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in limits else []
    made: Node = {"type": "integer"}
    if lows:
        made["minimum"] = max(*lows, _INTEGERS.start)
    if highs:
        made["maximum"] = min(*highs, _INTEGERS.stop - 1)
    return None if made.get("minimum", _INTEGERS.start) > made.get("maximum", _INTEGERS.stop) else made
