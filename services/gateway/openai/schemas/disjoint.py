"""Schemas that no value satisfies together."""

from collections.abc import Callable
from typing import Any

from services.gateway.openai.schemas.keywords import Node, key
from services.gateway.openai.schemas.merge import common_types, types_of


def are_disjoint(one: Node, other: Node, values_of: Callable[[Any], list[Any] | None]) -> bool:
    """Whether it is plain that no value satisfies both schemas.

    Args:
        one: A schema without references.
        other: Another one.
        values_of: The values that the schema of a property names; None if it names none.
    """
    first, second = types_of(one), types_of(other)
    if first and second and not common_types(first, second):
        return True
    if "enum" in one and "enum" in other:
        return _are_other_values(one["enum"], other["enum"])
    if first != ["object"] or second != ["object"]:
        return False
    for name in {*one.get("required", ())} & {*other.get("required", ())}:
        tags = [values_of(node.get("properties", {}).get(name, True)) for node in (one, other)]
        if tags[0] and tags[1] and _are_other_values(tags[0], tags[1]):
            return True
    return False


def _are_other_values(one: list[Any], other: list[Any]) -> bool:
    return set(map(key, one)).isdisjoint(map(key, other))
