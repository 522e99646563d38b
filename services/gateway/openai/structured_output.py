"""Structured output: the form that a response must have, checked before an engine compiles it."""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import jsonschema_rs
import orjson
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from services.gateway.openai import strict_json
from services.gateway.openai.fields import Name, Request, Text
from services.shared.errors import NotJson
from tidegate.worker.v1 import worker_pb2

MAX_SCHEMA_BYTES = 64 * 1024
MAX_REFERENCE_DEPTH = 32
MAX_REGEX_CHARACTERS = 4096
MAX_OPTIONS = 256

_DATA = frozenset({"enum", "const", "default", "examples"})
_DEFINITIONS = frozenset({"$defs", "definitions"})
_NAMED_PARTS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_CHARACTER_CLASS = re.compile(r"(?<!\\)\[\^?\]?(?:\\.|[^\]\\])*+\\?(?:\]|\Z)")
_BEYOND_REGULAR = re.compile(r"(?<!\\)\(\?<?[=!]|\\[1-9k]")


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Accepts a valid JSON schema that is small enough, refers only to itself, and does not recurse."""
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the JSON schema is larger than {MAX_SCHEMA_BYTES} bytes")
    _check_against_its_own_schema(schema)
    for keyword, value in _keywords(schema):
        if keyword in ("$dynamicRef", "$recursiveRef"):
            raise ValueError(f"the JSON schema must not use {keyword}")
        if keyword == "pattern":
            regex(value)
    _check_references(schema, schema, (), set())
    return schema


def _check_against_its_own_schema(schema: dict[str, Any]) -> None:
    """`$schema` is left out: a validator that reads it would fetch what it names."""
    try:
        jsonschema_rs.meta.validate({key: value for key, value in schema.items() if key != "$schema"})
    except jsonschema_rs.ValidationError as error:
        where = "/".join(str(step)[:64] for step in error.instance_path)
        raise ValueError(f"not a valid JSON schema at '/{where}'") from None


def _check_references(node: Any, root: dict[str, Any], trail: tuple[str, ...], sound: set[str]) -> None:
    """Follows all references of a node.

    Args:
        node: a part of the schema.
        root: the schema.
        trail: references that led here.
        sound: references that were followed to their ends already. Each is followed once, however often it is used.
    """
    for reference in _references(node):
        if not reference.startswith("#"):
            raise ValueError("the JSON schema may refer only to its own definitions")
        if reference in trail:
            raise ValueError("the JSON schema is recursive")
        if len(trail) >= MAX_REFERENCE_DEPTH:
            raise ValueError("the JSON schema's references go too deep")
        if reference not in sound:
            _check_references(_resolve(reference, root), root, (*trail, reference), sound)
            sound.add(reference)


def _references(node: Any) -> Iterator[str]:
    """Yields each `$ref` that a value of `node` would have to satisfy; definitions count only where they are used."""
    return (value for keyword, value in _keywords(node, definitions=False) if keyword == "$ref")


def _keywords(node: Any, *, definitions: bool = True) -> Iterator[tuple[str, Any]]:
    """Yields the keywords of a schema and its parts, at any depth, that have a string as their value."""
    if isinstance(node, list):
        for value in node:
            yield from _keywords(value, definitions=definitions)
    elif isinstance(node, dict):
        for keyword, value in node.items():
            if isinstance(value, str):
                yield keyword, value
            elif keyword in _NAMED_PARTS:
                yield from _keywords(list(value.values()) if isinstance(value, dict) else (), definitions=definitions)
            elif keyword not in _DATA and (definitions or keyword not in _DEFINITIONS):
                yield from _keywords(value, definitions=definitions)


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    node: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        if node is None:
            raise ValueError(f"the JSON schema refers to {reference[:64]!r}, which it does not define")
    return node


def regex(pattern: str) -> str:
    """Refuses a pattern that no finite automaton can match; an engine would find that out only later."""
    if len(pattern) > MAX_REGEX_CHARACTERS:
        raise ValueError(f"a regular expression must not be longer than {MAX_REGEX_CHARACTERS} characters")
    bare = _CHARACTER_CLASS.sub("", pattern.replace("\\\\", ""))
    if _BEYOND_REGULAR.search(bare):
        raise ValueError("regular expressions must not look around or refer back")
    return pattern


def _described(schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
    """Accepts any schema that is small enough: it only tells the model what a function takes."""
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the JSON schema is larger than {MAX_SCHEMA_BYTES} bytes")
    return schema


Schema = Annotated[dict[str, Any], AfterValidator(_schema)]
DescribedSchema = Annotated[dict[str, Any] | bool, AfterValidator(_described)]
"""A schema that the model reads. Only where it binds an answer, `bound_schema` says what it may hold."""
Regex = Annotated[Text, Field(min_length=1), AfterValidator(regex)]


class TextFormat(Request):
    """Plain text."""

    type: Literal["text"]


class JsonObjectFormat(Request):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Request):
    """A JSON schema with a name."""

    name: Name
    description: Annotated[Text, Field(max_length=4096)] | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class JsonSchemaFormat(Request):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


def _tag(value: Any) -> Any:
    """Accepts a structural tag as an object, or as its JSON; the older form becomes the one that xgrammar reads."""
    document = _parsed(value) if isinstance(value, str) else value
    if isinstance(document, dict) and "structures" in document:
        return _triggered(document)
    return document


def _parsed(text: str) -> dict[str, Any]:
    try:
        return strict_json.parse_object(text.encode(), "the structural tag")
    except NotJson as error:
        raise ValueError(error.message.rstrip(".")) from None


def _triggered(tag: dict[str, Any]) -> dict[str, Any]:
    structures = tag["structures"]
    if not isinstance(structures, list) or not all(isinstance(each, dict) for each in structures):
        raise ValueError("structures must be an array of objects")
    tags = [
        {
            "begin": each.get("begin"),
            "content": {"type": "json_schema", "json_schema": each.get("schema")},
            "end": each.get("end"),
        }
        for each in structures
    ]
    triggered = {"type": "triggered_tags", "triggers": tag.get("triggers"), "tags": tags}
    return {"type": "structural_tag", "format": triggered}


def _small_tag(tag: dict[str, Any]) -> dict[str, Any]:
    if len(orjson.dumps(tag)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the structural tag is larger than {MAX_SCHEMA_BYTES} bytes")
    if tag.get("type") != "structural_tag" or not isinstance(tag.get("format"), dict):
        raise ValueError("a structural tag has the type 'structural_tag' and a format, or structures and triggers")
    return tag


StructuralTag = Annotated[dict[str, Any], BeforeValidator(_tag), AfterValidator(_small_tag)]
"""Says which parts of a text are bound, and by what. xgrammar compiles it; the worker checks that it does."""


class StructuralTagFormat(Request):
    """Text of which some parts are bound."""

    type: Literal["structural_tag"]
    format: dict[str, Any] | None = None
    structures: Annotated[list[dict[str, Any]], Field(max_length=MAX_OPTIONS)] | None = None
    triggers: Annotated[list[str], Field(max_length=MAX_OPTIONS)] | None = None

    @cached_property
    def tag(self) -> dict[str, Any]:
        """The structural tag."""
        return _small_tag(_tag(self.model_dump(exclude_none=True)))

    @model_validator(mode="after")
    def _is_a_tag(self) -> Self:
        _ = self.tag
        return self


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat, Field(discriminator="type")
]


Option = Annotated[Text, Field(min_length=1, max_length=4096)]


class StructuredOutputs(Request):
    """vLLM's field for structured output: exactly one of its forms."""

    json_: Annotated[Schema | None, Field(alias="json")] = None
    regex: Regex | None = None
    grammar: Annotated[Text, Field(min_length=1, max_length=MAX_SCHEMA_BYTES)] | None = None
    choice: Annotated[list[Option], Field(min_length=1, max_length=MAX_OPTIONS)] | None = None
    json_object: Literal[True] | None = None
    structural_tag: StructuralTag | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [self.json_, self.regex, self.grammar, self.choice, self.json_object, self.structural_tag]
        if sum(value is not None for value in given) != 1:
            raise ValueError("exactly one of json, regex, grammar, choice, json_object and structural_tag is needed")
        return self


def set_structured_output(sampling: worker_pb2.Sampling, output: StructuredOutputs) -> None:
    """Writes the form into the sampling parameters."""
    if output.json_ is not None:
        sampling.json_schema = orjson.dumps(output.json_).decode()
    elif output.regex is not None:
        sampling.regex = output.regex
    elif output.grammar is not None:
        sampling.grammar = output.grammar
    elif output.choice is not None:
        sampling.grammar = "root ::= " + " | ".join(orjson.dumps(option).decode() for option in output.choice)
    elif output.structural_tag is not None:
        sampling.structural_tag = orjson.dumps(output.structural_tag).decode()
    else:
        sampling.json_object = True


def set_response_format(
    sampling: worker_pb2.Sampling,
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat,
) -> None:
    """Writes OpenAI's `response_format` into the sampling parameters."""
    if isinstance(response_format, JsonSchemaFormat):
        sampling.json_schema = orjson.dumps(response_format.json_schema.schema_).decode()
    elif isinstance(response_format, StructuralTagFormat):
        sampling.structural_tag = orjson.dumps(response_format.tag).decode()
    elif isinstance(response_format, JsonObjectFormat):
        sampling.json_object = True
