"""Bodies as clients' tools send them, and changes to them: odd schemas, parts, values, unknown fields. Pure."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any

Body = dict[str, Any]
Slot = tuple[Any, Any]
"""A place in a document: the object or array, and the name or position in it."""

FEW_TOKENS = 4
MAX_CHANGES = 3
DEEP = 90
UNKNOWN = ("opts", "cache_control", "index", "x-note", "schema_version", "", "a.b[0]", "__proto__", "é", "n" * 300)
STRINGS = ("", " ", "\x00", "\ud800", "\ufeff", "😀" * 20, "a\r\nb: c", "auto", "required", "x" * 3000, "{}", "null")
NUMBERS = (0, 1, -1, 0.5, 1e308, -(2**63), 2**63, 2**64, 10**30)


def _nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, {"type": None}, {"type": "text"}),
    *(_nested(DEEP), [0] * 500, {f"k{n}": n for n in range(200)}),
    *STRINGS,
    *NUMBERS,
)
SCHEMAS: tuple[Any, ...] = (
    *(True, False, None, {}, [], "object", {"type": None}, {"type": ["object", "null"]}, {"type": "no-such-type"}),
    {"type": "object", "required": None, "properties": None},
    {"type": "object", "properties": {"a": True, "b": False}, "required": ["a", "zzz"]},
    {"type": "object", "properties": {"": {"type": "string"}, "é/~%": {"enum": [1, None, {"a": []}]}}},
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
    {"anyOf": [{"$ref": "#/anyOf/1"}, {"const": 1}]},
    {"definitions": {"a b": {"enum": ["x"]}}, "$ref": "#/definitions/a%20b"},
    {"$ref": "https://example.org/schema.json"},
    {"$ref": "#/nowhere"},
    {"$anchor": "here", "properties": {"a": {"$ref": "#here"}}},
    {"$dynamicRef": "#node", "$dynamicAnchor": "node"},
    {"properties": {"a": {"type": "string", "pattern": "^(?=.*[a-z])(?!x).*$"}}},
    {"properties": {"a": {"type": "string", "pattern": "(a+)+$", "minLength": 3}}},
    {"properties": {"a": {"type": "string", "pattern": "["}}},
    {"properties": {"a": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}}}},
    {"properties": {"a": {"type": "integer", "minimum": -(10**40), "maximum": 1e300, "multipleOf": 0}}},
    {"not": {}, "if": {"type": "object"}, "then": False, "dependentRequired": {"a": ["b"]}},
    {"oneOf": [{"type": "integer"}, {"type": "number"}], "uniqueItems": True, "contains": {}},
    {"allOf": [{"type": "object"}, {"type": "string"}]},
    {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object", "id": "#x", "exclusiveMinimum": True},
    {"patternProperties": {"(": {}}, "propertyNames": {"pattern": "(?<a"}, "unevaluatedProperties": False},
    {"type": "object", "properties": _nested(60)},
)
"""Parameters of functions, as generators of tools and people write them."""
PARTS: tuple[Any, ...] = (
    {"type": "text", "text": "Where does the tide go?"},
    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}, "annotations": []},
    {"type": "input_text", "text": "x"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}},
    {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,"}},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    {"type": "refusal", "refusal": "no"},
    {"type": "thinking", "thinking": "Hm.", "signature": ""},
    {"type": "tool_result", "tool_use_id": "t", "content": None},
    {"type": "tool_use", "id": "t", "name": "look", "input": None},
    {"type": "item_reference", "id": "x"},
    {"type": "reasoning", "summary": [], "encrypted_content": "AAAA"},
    {"text": "no type"},
    "a text",
)
ASKED = [{"role": "user", "content": "Where?"}]
LOOK: Body = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
CALL: Body = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def bodies(model: str) -> dict[str, tuple[Body, ...]]:
    """Returns requests that are right, by the path that they are posted to."""
    said = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    heard = [*said, {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "Out."}]}]
    chat: Body = {"model": model, "messages": ASKED, "max_tokens": FEW_TOKENS}
    tools: Body = {"tools": [{"type": "function", "function": LOOK}]}
    completion: Body = {"model": model, "prompt": "The tide", "max_tokens": FEW_TOKENS}
    response: Body = {"model": model, "input": "Where?", "max_output_tokens": FEW_TOKENS}
    message: Body = {"model": model, "messages": ASKED, "max_tokens": FEW_TOKENS}
    used = {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "x"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "Out.", "is_error": False}
    turns = [*ASKED, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    anthropic: Body = {"tools": [{"name": "look", "input_schema": LOOK["parameters"]}]}
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "Out."},
    ]
    return {
        "/v1/chat/completions": (
            chat,
            {**chat, **tools, "messages": heard, "stream": True, "stream_options": {"include_usage": True}},
            {**chat, **tools, "tool_choice": "auto", "parallel_tool_calls": False, "n": 2, "logprobs": True},
            {**chat, **tools, "tool_choice": {"type": "function", "function": {"name": "look"}}},
            {**chat, "messages": [{"role": "system", "content": "Be brief."}, *ASKED], "stop": ["x"], "seed": 1},
            {**chat, "return_token_ids": True, "prompt_logprobs": 1, "logit_bias": {"300": 1}, "bad_words": ["x"]},
        ),
        "/v1/completions": (
            completion,
            {**completion, "stream": True, "echo": True, "logprobs": 1, "n": 2},
            {**completion, "prompt": [300, 301], "stop": "x", "top_k": -1},
        ),
        "/v1/responses": (
            response,
            {**response, "input": items, "stream": True, "tools": [{"type": "function", **LOOK}]},
            {**response, "tools": [{"type": "function", **LOOK}, {"type": "custom", "name": "patch"}], "store": False},
            {**response, "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "text"}}},
            {**response, "conversation": {"id": f"conv_{'0' * 32}"}, "background": True},
        ),
        "/v1/conversations": ({"metadata": {"topic": "tides"}}, {"items": items}),
        f"/v1/conversations/conv_{'0' * 32}/items": ({"items": items},),
        "/v1/messages": (
            {**message, "system": [{"type": "text", "text": "Be brief."}]},
            {**message, **anthropic, "messages": turns, "stream": True},
            {**message, **anthropic, "tool_choice": {"type": "tool", "name": "look"}, "thinking": {"type": "disabled"}},
        ),
        "/v1/messages/count_tokens": ({"model": model, "messages": turns, **anthropic},),
        "/tokenize": ({"model": model, "prompt": "The tide"}, {"model": model, "messages": heard, **tools}),
        "/detokenize": ({"model": model, "tokens": [300, 301]},),
        "/v1/embeddings": ({"model": model, "input": ["x"]},),
        "/v1/batches": (
            {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {}},
        ),
    }


def changed(body: Body, random: Random) -> Body:
    """Returns a copy with up to MAX_CHANGES changes; the model stays."""
    made = deepcopy(body)
    for _ in range(random.randint(0, MAX_CHANGES)):
        random.choice(CHANGES)(made, random)
    return {**made, "model": body["model"]} if "model" in body else made


def _slots(value: Any) -> Iterator[Slot]:
    if isinstance(value, dict | list):
        for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _slots(inner)


def _replace(body: Body, random: Random) -> None:
    place, key = random.choice(list(_slots(body)))
    place[key] = deepcopy(random.choice(VALUES))


def _leave_out(body: Body, random: Random) -> None:
    place, key = random.choice(list(_slots(body)))
    del place[key]
    if not body:
        body["x"] = None


def _add_unknown(body: Body, random: Random) -> None:
    objects = [body, *(place[key] for place, key in _slots(body) if isinstance(place[key], dict))]
    random.choice(objects)[random.choice(UNKNOWN)] = deepcopy(random.choice(VALUES))


def _swap_types(body: Body, random: Random) -> None:
    """Puts a value from one place of the body to another one."""
    slots = list(_slots(body))
    (place, key), (other, name) = random.choice(slots), random.choice(slots)
    place[key] = deepcopy(other[name])


def _odd_schema(body: Body, random: Random) -> None:
    schema = deepcopy(random.choice(SCHEMAS))
    for place, key in list(_slots(body)):
        if key in ("parameters", "input_schema", "schema"):
            place[key] = schema
            return
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def _odd_parts(body: Body, random: Random) -> None:
    found = body.get("messages") or body.get("input")
    turns = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if turns:
        random.choice(turns)["content"] = deepcopy(random.choices(PARTS, k=random.randint(0, 3)))


CHANGES: tuple[Callable[[Body, Random], None], ...] = (
    *(_replace, _replace, _replace),
    *(_leave_out, _add_unknown, _add_unknown, _swap_types),
    *(_odd_schema, _odd_schema, _odd_parts, _odd_parts),
)
