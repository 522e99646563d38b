"""Which definitions have a value that ends: a schema that always needs another one of its kind has none."""

from collections.abc import Mapping

from services.gateway.openai.schemas.keywords import Node


def finite_definitions(definitions: Mapping[str, Node | None]) -> set[str]:
    """Returns the names of those that have one. None stands for a definition that nothing satisfies.

    First come those that need no other, then those that need only these, and so on.
    """
    finite: set[str] = set()
    while True:
        more = {
            name
            for name, node in definitions.items()
            if name not in finite and node is not None and _is_finite(node, finite)
        }
        if not more:
            return finite
        finite |= more


def _is_finite(node: Node, finite: set[str]) -> bool:
    """Whether a bound schema has a value that ends. finite: definitions that have one."""
    if "$ref" in node:
        return node["$ref"].removeprefix("#/$defs/") in finite
    if "anyOf" in node:
        return any(_is_finite(branch, finite) for branch in node["anyOf"])
    needed = [node["properties"][name] for name in node.get("required", ())]
    least = node.get("minItems", 0)
    prefix = node.get("prefixItems", [])
    needed += prefix[:least]
    if least > len(prefix) and isinstance(node.get("items"), dict):
        needed.append(node["items"])
    if node.get("minProperties", 0) > len(node.get("properties", {})):
        needed += [inner for inner in (node.get("additionalProperties"),) if isinstance(inner, dict)]
    return all(_is_finite(inner, finite) for inner in needed)
