"""Schemas of functions, as tools in the wild have them."""

from typing import Any

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


def obj(**properties: Any) -> dict[str, Any]:
    """An object that must have all these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


NODE = {
    "type": "object",
    "properties": {"v": INTEGER, "kids": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
    "required": ["v"],
}

BINDABLE: list[Any] = [
    # What says nearly nothing still means an object.
    {},
    True,
    None,
    {"type": "object"},
    {"type": "object", "properties": {}},
    {"properties": {"a": INTEGER}},
    {"type": ["object", "null"], "properties": {"a": INTEGER}, "required": ["a"]},
    {"anyOf": [obj(a=INTEGER), STRING, obj(b=STRING)]},
    # What stands beside branches, references and other parts counts too.
    {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [obj(a=INTEGER), obj(b=STRING)]},
    obj(a={"$ref": "#/$defs/t", "required": ["y"]}) | {"$defs": {"t": obj(x=INTEGER)}},
    obj(a={"allOf": [{"$ref": "#/$defs/e"}], "description": "x"}) | {"$defs": {"e": {"enum": [1, 2]}}},
    # References: recursion, RFC 6901, anchors, the schema's own name.
    {"$ref": "#/$defs/n", "$defs": {"n": NODE}},
    {"type": "object", "properties": {"c": {"$ref": "#"}, "x": INTEGER}},
    {"$ref": "#/definitions/a%20b~1c", "definitions": {"a b/c": obj(x=INTEGER)}},
    obj(a={"$ref": "#/properties/b/prefixItems/1"}, b={"type": "array", "prefixItems": [INTEGER, STRING]}),
    obj(a={"$ref": "#an"}) | {"$defs": {"q": {"$anchor": "an", "type": "boolean"}}},
    {"$id": "https://x.y/z", "type": "object", "properties": {"q": {"$ref": "https://x.y/z#/$defs/k"}},
     "$defs": {"k": INTEGER}},
    # Values.
    obj(a={"type": "string", "pattern": "^https?://[a-z]{2}$"}),
    obj(a={"type": "string", "pattern": "^a|b$"}),
    obj(a={"type": "string", "pattern": "^[\"'a]+$"}),
    obj(a={"type": "string", "minLength": 1, "maxLength": 3}),
    obj(a={"type": "string", "format": "date"}),
    obj(a={"type": "string", "format": "odd"}),
    obj(a={"type": "number", "minimum": 0.5, "exclusiveMaximum": 3}),
    obj(a={"type": "integer", "minimum": 0.5, "maximum": 1e30}),
    obj(a={"type": ["integer", "string"], "minimum": 3, "maxLength": 2}),
    obj(a={"enum": ["x", 1, None, {"q": [1]}]}),
    obj(a={"type": "string", "enum": ["x", 1]}),
    obj(a={"const": "x"}),
    obj(a={"anyOf": [INTEGER, {"type": "null"}], "default": None, "title": "A"}),
    obj(a={"oneOf": [INTEGER, STRING]}),
    obj(a={"oneOf": [obj(k={"const": "a"}, x=INTEGER), obj(k={"const": "b"}, y=STRING)]}),
    # Arrays and open objects.
    obj(a={"type": "array"}),
    obj(a={"type": "array", "items": STRING, "minItems": 2, "maxItems": 3}),
    obj(a={"type": "array", "prefixItems": [INTEGER, STRING], "items": False, "maxItems": 1}),
    {"type": "object", "additionalProperties": INTEGER, "minProperties": 2},
    {"type": "object", "properties": {"a": INTEGER}, "additionalProperties": STRING},
    {"type": "object", "properties": {"a": {"not": {}}, "b": INTEGER}},
    obj(a={"type": "object", "patternProperties": {"^x-$": INTEGER}, "minProperties": 1}),
    obj(a={"type": "object", "propertyNames": {"enum": ["u", "v"]}, "additionalProperties": INTEGER}),
]  # fmt: skip
"""Schemas in the newest draft that can bind the arguments of a call; None: the function has no parameters."""
