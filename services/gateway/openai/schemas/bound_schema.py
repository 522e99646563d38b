"""The schema that holds the arguments of a call: what the function's own schema allows, in words a grammar can hold.

Every value that satisfies the bound schema is an object that satisfies the function's schema. It may allow less:
objects with named properties have no others. Its references are `#/$defs/NAME.NUMBER` only, so that the schemas of
several functions can stand in one document.
"""

from itertools import combinations
from typing import Any

from services.gateway.openai.schemas.budget import Budget
from services.gateway.openai.schemas.disjoint import are_disjoint
from services.gateway.openai.schemas.finite import finite_definitions
from services.gateway.openai.schemas.keywords import GROUPS, Node, plain
from services.gateway.openai.schemas.merge import merge, types_of
from services.gateway.openai.schemas.pattern import whole_match
from services.gateway.openai.schemas.problem import SchemaProblem
from services.gateway.openai.schemas.references import References
from services.gateway.openai.schemas.scalars import number, string, values

MAX_BRANCHES = 128
"""Branches of one `oneOf`; each is compared with each other one."""
NO_ARGUMENTS: Node = {"type": "object", "properties": {}, "additionalProperties": False}


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
        finite = finite_definitions(self._definitions)
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
        return values(node, path) if "enum" in node else self._typed(node, path)

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
        if not all(are_disjoint(one, other, self._values_of) for one, other in combinations(shown, 2)):
            raise SchemaProblem("oneOf", path, "has branches that one value could satisfy together: use 'anyOf'")

    def _values_of(self, schema: Any) -> list[Any] | None:
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
                return string(node, path)
            case "number" | "integer":
                return number(name, node)
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


def _first(schema: Any) -> str:
    return next(iter(schema), "type") if isinstance(schema, dict) else "type"
