"""Structured outputs: what shape an answer must have, checked before any engine compiles it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Field, model_validator

from services.gateway.openai.fields import Name, Request, Text
from tidegate.worker.v1 import worker_pb2

MAX_SCHEMA_BYTES = 64 * 1024


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema small enough, closed in itself and without recursion."""
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the JSON schema is larger than {MAX_SCHEMA_BYTES} bytes")
    if not isinstance(schema.get("type", "object"), str | list):
        raise ValueError("the JSON schema's type must be a string or a list of strings")
    _check_references(schema, schema, ())
    return schema


def _check_references(node: Any, root: dict[str, Any], trail: tuple[str, ...]) -> None:
    for reference in _references(node):
        if not reference.startswith("#"):
            raise ValueError("the JSON schema may refer only to its own definitions")
        if reference in trail:
            raise ValueError("the JSON schema is recursive")
        if len(trail) >= 32:
            raise ValueError("the JSON schema's references go too deep")
        _check_references(_resolve(reference, root), root, (*trail, reference))


def _references(node: Any) -> Iterator[str]:
    """Each `$ref` that a value of `node` would have to satisfy; definitions count only where they are used."""
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        for key, value in node.items():
            if key not in ("$defs", "definitions", "enum", "const", "default", "examples"):
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        if node is None:
            raise ValueError(f"the JSON schema refers to {reference[:64]!r}, which it does not define")
    return node


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]


class TextFormat(Request):
    type: Literal["text"]


class JsonObjectFormat(Request):
    type: Literal["json_object"]


class JsonSchema(Request):
    name: Name
    description: Annotated[Text, Field(max_length=4096)] | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class JsonSchemaFormat(Request):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StructuredOutputs(Request):
    """One of: a JSON schema, a regular expression, a grammar, any JSON object."""

    json_: Annotated[Schema | None, Field(alias="json")] = None
    regex: Annotated[Text, Field(min_length=1, max_length=4096)] | None = None
    grammar: Annotated[Text, Field(min_length=1, max_length=MAX_SCHEMA_BYTES)] | None = None
    json_object: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [self.json_, self.regex, self.grammar, self.json_object]
        if sum(value is not None for value in given) != 1:
            raise ValueError("exactly one of json, regex, grammar and json_object is needed")
        return self


def structure_into(sampling: worker_pb2.Sampling, wanted: StructuredOutputs) -> None:
    if wanted.json_ is not None:
        sampling.json_schema = orjson.dumps(wanted.json_).decode()
    elif wanted.regex is not None:
        sampling.regex = wanted.regex
    elif wanted.grammar is not None:
        sampling.grammar = wanted.grammar
    else:
        sampling.json_object = True


def format_into(sampling: worker_pb2.Sampling, wanted: TextFormat | JsonObjectFormat | JsonSchemaFormat) -> None:
    if isinstance(wanted, JsonSchemaFormat):
        sampling.json_schema = orjson.dumps(wanted.json_schema.schema_).decode()
    elif isinstance(wanted, JsonObjectFormat):
        sampling.json_object = True
