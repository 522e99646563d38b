"""Instructor: a structured output in every mode of its OpenAI and Anthropic clients, and a partial stream."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from anthropic import Anthropic
from pydantic import BaseModel

# settings: Python; all modes work that the table names
import instructor
from openai import OpenAI

openai = OpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"], max_retries=0)
client = instructor.from_openai(openai, mode=instructor.Mode.TOOLS)
# end of settings

asked = json.loads(os.environ["ASKED"])
anthropic = Anthropic(base_url=os.environ["ANTHROPIC_BASE_URL"], api_key=os.environ["ANTHROPIC_API_KEY"], max_retries=0)
OPENAI_MODES = (
    "TOOLS", "TOOLS_STRICT", "PARALLEL_TOOLS", "JSON", "JSON_SCHEMA", "MD_JSON", "JSON_O1", "RESPONSES_TOOLS",
    "RESPONSES_TOOLS_WITH_INBUILT_TOOLS",
)  # fmt: skip
ANTHROPIC_MODES = ("ANTHROPIC_TOOLS", "ANTHROPIC_REASONING_TOOLS", "ANTHROPIC_PARALLEL_TOOLS", "ANTHROPIC_JSON")


class Tide(BaseModel):
    """The tide in a harbour."""

    harbour: str
    rising: bool


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def structured(client: Any, wanted: Any = Tide, **fields: Any) -> dict[str, Any]:
    given = client.create(
        model="tide", response_model=wanted, messages=user(asked["structured"]), max_retries=0, **fields
    )
    given = given if isinstance(given, BaseModel) else next(iter(given))
    return dict(given.model_dump())


def of_openai(name: str) -> dict[str, Any]:
    wanted = Iterable[Tide] if name == "PARALLEL_TOOLS" else Tide
    return structured(instructor.from_openai(openai, mode=instructor.Mode[name]), wanted)


def of_anthropic(name: str) -> dict[str, Any]:
    wanted = Iterable[Tide] if name == "ANTHROPIC_PARALLEL_TOOLS" else Tide
    return structured(instructor.from_anthropic(anthropic, mode=instructor.Mode[name]), wanted, max_tokens=1000)


def attempt(ask: Any, name: str) -> Any:
    try:
        return ask(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


partial = client.create_partial(
    model="tide", response_model=Tide, messages=user(asked["structured"]), max_retries=0, stream=True
)
parts = [part.model_dump() for part in partial]
told = {
    "openai": {
        "structured": {
            **{name.lower(): attempt(of_openai, name) for name in OPENAI_MODES},
            "partial": parts[-1],
        },
    },
    "anthropic": {"structured": {name.lower(): attempt(of_anthropic, name) for name in ANTHROPIC_MODES}},
}
json.dump(told, sys.stdout)
