"""Structured outputs of chat completions and completions."""

import re
from typing import Any

import orjson

from tests.conformance.api import WEATHER, Api, expect, same
from tests.conformance.needs import needs


async def plain_text(api: Api) -> None:
    """`response_format` may ask for plain text."""
    await api.chat(response_format={"type": "text"})


@needs("grammar")
async def json_object(api: Api) -> None:
    """`json_object` gives a JSON object, if the token limit lets it end."""
    asked: dict[str, Any] = {"response_format": {"type": "json_object"}, "max_tokens": 100}
    [choice] = (await api.chat("Answer with the JSON object {}.", **asked))["choices"]
    if choice["finish_reason"] == "stop":
        expect(isinstance(orjson.loads(choice["message"]["content"]), dict), "it is no object")


@needs("grammar")
async def json_schema(api: Api) -> None:
    """`json_schema` gives JSON that is valid under the schema."""
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}
    [choice] = (await api.chat(response_format=form, max_tokens=100))["choices"]
    same(orjson.loads(choice["message"]["content"]), {"city": "Brest"}, "the answer")


@needs("grammar")
async def json_schema_streamed(api: Api) -> None:
    """A streamed answer is valid under the schema too."""
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    chunks = await api.chat_chunks(response_format=form, max_tokens=100)
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    same(orjson.loads(text), {"city": "Brest"}, "the answer")


@needs("grammar")
async def choices(api: Api) -> None:
    """`structured_outputs.choice` gives one of the choices."""
    [choice] = (await api.chat(structured_outputs={"choice": ["ebb", "flow"]}))["choices"]
    expect(choice["message"]["content"] in ("ebb", "flow"), choice["message"]["content"])


@needs("grammar")
async def regular_expressions(api: Api) -> None:
    """`structured_outputs.regex` gives a text that matches."""
    [choice] = (await api.chat(structured_outputs={"regex": "[0-9]{3}"}))["choices"]
    expect(bool(re.fullmatch("[0-9]{3}", choice["message"]["content"])), choice["message"]["content"])


@needs("grammar")
async def grammars(api: Api) -> None:
    """`structured_outputs.grammar` gives a text of the grammar."""
    [choice] = (await api.chat(structured_outputs={"grammar": 'root ::= "ebb" | "flow"'}))["choices"]
    expect(choice["message"]["content"] in ("ebb", "flow"), choice["message"]["content"])


@needs("grammar")
async def schemas_of_completions(api: Api) -> None:
    """Completions take a JSON schema too."""
    [choice] = (await api.complete(structured_outputs={"json": WEATHER}, max_tokens=100))["choices"]
    same(orjson.loads(choice["text"]), {"city": "Brest"}, "the answer")


@needs("grammar")
async def response_format_of_completions(api: Api) -> None:
    """Completions take `response_format` too."""
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    [choice] = (await api.complete(response_format=form, max_tokens=100))["choices"]
    same(orjson.loads(choice["text"]), {"city": "Brest"}, "the answer")


@needs("grammar")
async def a_wrong_regular_expression(api: Api) -> None:
    """A regular expression that is none is refused."""
    await api.chat_refused(structured_outputs={"regex": "["})


@needs("grammar")
async def a_wrong_grammar(api: Api) -> None:
    """A grammar that is none is refused."""
    await api.chat_refused(structured_outputs={"grammar": "root ::= ]"})


@needs("grammar")
async def an_impossible_schema(api: Api) -> None:
    """A schema that is none is refused."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no-such-type"}}}
    await api.chat_refused(response_format=form)


async def two_structures(api: Api) -> None:
    """Two structures for one text are refused."""
    await api.chat_refused(structured_outputs={"regex": "a", "choice": ["a"]})


async def a_form_without_a_schema(api: Api) -> None:
    """`json_schema` without a schema is refused."""
    await api.chat_refused(response_format={"type": "json_schema"})


async def an_unknown_form(api: Api) -> None:
    """A form that does not exist is refused."""
    await api.chat_refused(response_format={"type": "yaml"})


async def the_old_names(api: Api) -> None:
    """The `guided_...` fields of older versions are not left out silently."""
    error = await api.chat_refused(guided_choice=["ebb", "flow"])
    expect("structured_outputs" in error["message"], error["message"])
