"""Tools that a model may call, and which of them it must."""

from typing import Annotated, Literal

from pydantic import Field

from services.gateway.openai.fields import Name, Request, Text
from services.gateway.openai.structure import Schema

MAX_TOOLS = 128


class Function(Request):
    name: Name
    description: Annotated[Text, Field(max_length=16_384)] | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Request):
    type: Literal["function"]
    function: Function


class FunctionName(Request):
    name: Name


class NamedTool(Request):
    type: Literal["function"]
    function: FunctionName


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
ToolChoice = Literal["none", "auto", "required"] | NamedTool


def check_choice(tools: list[Tool] | None, choice: ToolChoice | None) -> None:
    """Raises ValueError for repeated names and for a choice that no tool answers to."""
    names = [tool.function.name for tool in tools or ()]
    if len(set(names)) < len(names):
        raise ValueError("tools: function names must differ")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise ValueError(f"tool_choice: no tool is named {choice.function.name!r}")
    if choice == "required" and not names:
        raise ValueError("tool_choice: 'required' needs tools")
