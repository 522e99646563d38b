"""The schema that holds the arguments of a call: what the function's own schema allows, in words a grammar can hold.

Every value that satisfies the bound schema is an object that satisfies the function's schema. It may allow less:
objects with named properties have no others. Its references are `#/$defs/NAME.NUMBER` only, so that the schemas of
several functions can stand in one document.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import jsonschema_rs

from services.gateway.openai.schema_keywords import GROUPS, Node, key, plain
from services.gateway.openai.schema_merge import common_types, merge, types_of
from services.gateway.openai.schema_pattern import whole_match
from services.gateway.openai.schema_problem import SchemaProblem
from services.gateway.openai.schema_references import References

MAX_PARTS = 4096
"""Schemas within the bound schemas of a request. References that are copied can make them larger than the text."""
MAX_DEPTH = 64
MAX_BRANCHES = 128
"""Branches of one `oneOf`; each is compared with each other one."""
NO_ARGUMENTS: Node = {"type": "object", "properties": {}, "additionalProperties": False}
_INTEGERS = range(-(2**63), 2**63)
_VALUES = {"allOf", "anyOf", "oneOf", "$ref"}


class Budget:
    """How much binding may still cost in one request."""

    def __init__(self, parts: int = MAX_PARTS) -> None:
        self._parts, self._depth = parts, 0

    @contextmanager
    def deeper(self, path: str) -> Iterator[None]:
        """Counts a part of a schema, and how deep it is, whatever references lead to.

        Raises:
            SchemaProblem: it is one too many.
        """
        self._parts, self._depth = self._parts - 1, self._depth + 1
        try:
            if self._parts < 0 or self._depth > MAX_DEPTH:
                raise SchemaProblem("$ref", path, "leads to a schema that is too large or has no end")
            yield
        finally:
            self._depth -= 1


def bound_schema(schema: dict[str, Any] | bool | None, name: str, budget: Budget) -> Node:
    """Returns the schema that holds the arguments of a function.

    Args:
        schema: the function's own. Without one it has no parameters.
        name: the function's.
        budget: what binding may cost; one for all functions of a request.

    Raises:
        SchemaProblem: a part of it cannot be held by a grammar, or nothing satisfies it.
    """
    return dict(NO_ARGUMENTS) if schema is None else _Binder(schema, name, budget).arguments()


class _Binder:
    """Binds one schema."""

    def __init__(self, schema: dict[str, Any] | bool, name: str, budget: Budget) -> None:
        self._schema, self._name, self._deeper = schema, name, budget.deeper
        self._references = References(schema)
        # By JSON pointer: the name of a definition, and its schema once it is bound.
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Node | None] = {}

    def arguments(self) -> Node:
        """Returns the bound schema, which only objects satisfy."""
        bound = self._bind({"allOf": [self._schema, {"type": "object"}]}, "", at=("", ""))
        finite = self._finite_definitions()
        for pointer, name in self._names.items():
            if name not in finite:
                raise SchemaProblem("$ref", pointer, "leads to a schema that nothing satisfies, or only without end")
        if bound is None:
            raise SchemaProblem(_first(self._schema), "", "is part of a schema that no object satisfies")
        return {**bound, "$defs": self._definitions} if self._definitions else bound

    def _bind(self, schema: Any, path: str, at: tuple[str, str] | None = None) -> Node | None:
        """Binds a schema; None: nothing satisfies it. at: places of the parts of an `allOf` that we made ourselves."""
        if schema is True or schema is None:
            return {}
        if schema is False or (isinstance(schema, dict) and schema.get("not") in (True, {})):
            return None
        if not isinstance(schema, dict):
            raise SchemaProblem("type", path, "belongs to something that is no schema")
        with self._deeper(path):
            return self._bind_keywords(schema, path, at)

    def _bind_keywords(self, schema: Node, path: str, at: tuple[str, str] | None) -> Node | None:
        node = plain(schema, path)
        if "$ref" in node and len(node) == 1:
            return {"$ref": f"#/$defs/{self._definition(node['$ref'], path)}"}
        node = self._folded(node, path, at)
        for keyword in ("anyOf", "oneOf"):
            if keyword in node:
                return self._choice(keyword, node, path)
        return _values(node, path) if "enum" in node else self._typed(node, path)

    def _definition(self, reference: str, path: str) -> str:
        """Returns the name of the definition that stands for what is referred to, and binds it once."""
        pointer = self._target(reference, path)
        if pointer not in self._names:
            self._names[pointer] = name = f"{self._name}.{len(self._names)}"
            self._definitions[name] = self._bind(self._references.at(pointer, path), pointer)
        return self._names[pointer]

    def _target(self, reference: str, path: str) -> str:
        """Returns the place where a chain of mere references ends."""
        seen: list[str] = []
        while True:
            pointer = self._references.pointer(reference, path)
            if pointer in seen:
                raise SchemaProblem("$ref", path, "refers to itself without end")
            seen.append(pointer)
            node = self._references.at(pointer, path)
            if not isinstance(node, dict) or "$ref" not in node or plain(node, pointer).keys() != {"$ref"}:
                return pointer
            reference = node["$ref"]

    def _folded(self, node: Node, path: str, at: tuple[str, str] | None = None) -> Node:
        """Returns a schema with its `$ref` and `allOf` merged into it."""
        parts: list[tuple[Any, str]] = []
        if "$ref" in node:
            pointer = self._target(node["$ref"], path)
            parts.append((self._references.at(pointer, path), pointer))
        for index, part in enumerate(node.get("allOf", ())):
            parts.append((part, at[index] if at else f"{path}/allOf/{index}"))
        folded = {keyword: value for keyword, value in node.items() if keyword not in ("$ref", "allOf")}
        for part, place in parts:
            if part is not True:
                folded = merge(folded, {"enum": []} if part is False else self._followed(part, place), path)
        return folded

    def _followed(self, schema: Any, path: str) -> Node:
        """Returns what binds in a schema, with its references followed."""
        if not isinstance(schema, dict):
            return {}
        with self._deeper(path):
            return self._folded(plain(schema, path), path)

    def _choice(self, keyword: str, node: Node, path: str) -> Node | None:
        """Binds `anyOf` or `oneOf`; what stands beside it holds for every branch."""
        beside = {key: value for key, value in node.items() if key != keyword}
        places = [f"{path}/{keyword}/{index}" for index in range(len(node[keyword]))]
        if keyword == "oneOf":
            self._check_disjoint(node[keyword], places, path)
        branches = []
        for branch, place in zip(node[keyword], places, strict=True):
            whole = {"allOf": [beside, branch]} if beside else branch
            bound = self._bind(whole, place, at=(path, place))
            branches += [] if bound is None else [bound]
        if not branches:
            return None
        return branches[0] if len(branches) == 1 else {"anyOf": branches}

    def _check_disjoint(self, branches: list[Any], places: list[str], path: str) -> None:
        """A grammar lets any branch be taken, so no value may satisfy two."""
        if len(branches) > MAX_BRANCHES:
            raise SchemaProblem("oneOf", path, f"has more than {MAX_BRANCHES} branches: use 'anyOf'")
        shown = [self._followed(branch, place) for branch, place in zip(branches, places, strict=True)]
        if not all(_are_disjoint(one, other, self) for one, other in combinations(shown, 2)):
            raise SchemaProblem("oneOf", path, "has branches that one value could satisfy together: use 'anyOf'")

    def options(self, schema: Any) -> list[Any] | None:
        """Returns the values that a schema names, or None if it names none."""
        return self._followed(schema, "").get("enum")

    def _typed(self, node: Node, path: str) -> Node | None:
        """Binds a schema by the types that its values may have. Keywords of a type imply it."""
        types = types_of(node) or [name for name, keywords in GROUPS.items() if any(key in node for key in keywords)]
        if not types:
            return {}
        if "number" in types:
            types = [name for name in types if name != "integer"]
        bound = [self._of_type(name, node, path) for name in types]
        kept = [one for one in bound if one is not None]
        if not kept:
            return None
        return kept[0] if len(kept) == 1 else {"anyOf": kept}

    def _of_type(self, name: str, node: Node, path: str) -> Node | None:
        match name:
            case "object":
                return self._object(node, path)
            case "array":
                return self._array(node, path)
            case "string":
                return _string(node, path)
            case "number" | "integer":
                return _number(name, node)
            case _:
                return {"type": name}

    def _object(self, node: Node, path: str) -> Node | None:
        rest = node.get("additionalProperties", True)
        names = self._names_of(node, path)
        if node.get("patternProperties"):
            return self._patterned(node, path)
        properties = dict(node.get("properties", {}))
        properties |= {name: rest for name in [*names, *node.get("required", ())] if name not in properties}
        required = list(dict.fromkeys(node.get("required", ())))
        bound = {name: self._bind(value, f"{path}/properties/{name}") for name, value in properties.items()}
        impossible = [name for name, value in bound.items() if value is None]
        if set(impossible) & set(required):
            return None
        # Another name could be one of these, written with an escape, so there are no others beside named properties.
        others = None if properties else self._bind(rest, f"{path}/additionalProperties")
        if properties and rest is not False and node.get("minProperties", 0) > len(properties):
            raise SchemaProblem("minProperties", path, "needs more names than the schema has")
        kept = {name: value for name, value in bound.items() if value is not None}
        made: Node = {"type": "object", "properties": kept, "required": required}
        made["additionalProperties"] = False if others is None else others
        if not kept:
            del made["properties"], made["required"]
            if others is None:
                made["properties"] = {}
        return _sized(made, node, "Properties", len(kept) if others is None else None)

    def _names_of(self, node: Node, path: str) -> list[str]:
        """Returns the names that `propertyNames` lists."""
        if node.get("propertyNames", True) is True:
            return []
        names = self._followed(node["propertyNames"], f"{path}/propertyNames")
        if names.keys() <= {"type"}:
            return []
        if "enum" not in names or not names["enum"] or node.get("properties"):
            raise SchemaProblem("propertyNames", path, "cannot be held by a grammar, except as a list of names")
        return [name for name in names["enum"] if isinstance(name, str)]

    def _patterned(self, node: Node, path: str) -> Node | None:
        patterns = node["patternProperties"]
        if node.get("properties") or node.get("required") or node.get("propertyNames") or len(patterns) > 1:
            raise SchemaProblem("patternProperties", path, "can be held by a grammar only alone, with one pattern")
        [(pattern, schema)] = patterns.items()
        place = f"{path}/patternProperties/{pattern}"
        bound = self._bind(schema, place)
        made: Node = {"type": "object", "properties": {}, "additionalProperties": False}
        if bound is not None:
            made = {"type": "object", "patternProperties": {whole_match(pattern, place): bound}}
            made["additionalProperties"] = False
        return _sized(made, node, "Properties", None if bound is not None else 0)

    def _array(self, node: Node, path: str) -> Node | None:
        most = node.get("maxItems")
        prefix: list[Node] = []
        items: Node | None = None
        for index, schema in enumerate(node.get("prefixItems", ())[: None if most is None else int(most)]):
            bound = self._bind(schema, f"{path}/prefixItems/{index}")
            if bound is None:
                break
            prefix.append(bound)
        if len(prefix) == len(node.get("prefixItems", ())):
            items = self._bind(node.get("items", True), f"{path}/items")
        made: Node = {"type": "array", "items": False if items is None else items}
        if prefix:
            made["prefixItems"] = prefix
        return _sized(made, node, "Items", len(prefix) if items is None else None)

    def _finite_definitions(self) -> set[str]:
        """Returns the definitions that have a finite value: those without the others, and so on."""
        finite: set[str] = set()
        while True:
            more = {
                name
                for name, node in self._definitions.items()
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


def _values(node: Node, path: str) -> Node | None:
    """Keeps the values that satisfy what stands beside them."""
    beside = {keyword: value for keyword, value in node.items() if keyword not in ("enum", *_VALUES)}
    try:
        validator = jsonschema_rs.Draft202012Validator(beside) if beside else None
        values = [value for value in node["enum"] if validator is None or validator.is_valid(value)]
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        raise SchemaProblem("enum", path, "stands beside keywords that say nothing about its values") from None
    return {"enum": values} if values else None


def _string(node: Node, path: str) -> Node | None:
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


def _number(name: str, node: Node) -> Node | None:
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


def _sized(made: Node, node: Node, what: str, room: int | None) -> Node | None:
    """Adds the least and the most members of an object or array. room: how many there can be."""
    least, most = int(node.get(f"min{what}", 0)), node.get(f"max{what}")
    needed = len(made.get("required", ()))
    most = None if most is None or (room is not None and most >= room) else int(most)
    if (room is not None and least > room) or (most is not None and max(least, needed) > most):
        return None
    if least > needed:
        made[f"min{what}"] = least
    return made if most is None else {**made, f"max{what}": most}


def _are_disjoint(one: Node, other: Node, binder: _Binder) -> bool:
    """Whether it is plain that no value satisfies both schemas."""
    first, second = types_of(one), types_of(other)
    if first and second and not common_types(first, second):
        return True
    if "enum" in one and "enum" in other:
        return _are_other_values(one["enum"], other["enum"])
    if first != ["object"] or second != ["object"]:
        return False
    for name in {*one.get("required", ())} & {*other.get("required", ())}:
        tags = [binder.options(node.get("properties", {}).get(name, True)) for node in (one, other)]
        if tags[0] and tags[1] and _are_other_values(tags[0], tags[1]):
            return True
    return False


def _are_other_values(one: list[Any], other: list[Any]) -> bool:
    return set(map(key, one)).isdisjoint(map(key, other))


def _first(schema: Any) -> str:
    return next(iter(schema), "type") if isinstance(schema, dict) else "type"
