"""Tools that a model may call, and which of them it must."""

from typing import Annotated, Literal

from pydantic import Field

from services.gateway.openai.fields import FunctionType, Name, Request, Text
from services.gateway.openai.structured_output import Schema

MAX_TOOLS = 128


class Function(Request):
    """A function that the model may call."""

    name: Name
    description: Annotated[Text, Field(max_length=16_384)] | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Request):
    """A tool. All tools are functions."""

    type: FunctionType = "function"
    function: Function


class FunctionName(Request):
    """The name of a function."""

    name: Name


class NamedTool(Request):
    """A choice of one function, which the model must call."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(Request):
    """Functions of which the model may call some."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolsChoice(Request):
    """A choice of several functions."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
Choice = Literal["none", "auto", "required"] | NamedTool
ToolChoice = (
    Literal["none", "auto", "required"] | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]
)


def check_choice(tools: list[Tool] | None, choice: ToolChoice | None) -> None:
    """Checks the choice against the tools.

    Raises:
        ValueError: two functions have one name, or no tool fits the choice.
    """
    names = [tool.function.name for tool in tools or ()]
    if len(set(names)) < len(names):
        raise ValueError("tools: function names must differ")
    for name in _chosen(choice):
        if name not in names:
            raise ValueError(f"tool_choice: no tool is named {name!r}")
    if choice == "required" and not names:
        raise ValueError("tool_choice: 'required' needs tools")


def narrow(tools: list[Tool] | None, choice: ToolChoice | None) -> tuple[list[Tool], Choice | None]:
    """Returns the tools that the choice allows, and the choice in words that chat templates know."""
    if not isinstance(choice, AllowedToolsChoice):
        return tools or [], choice
    allowed = _chosen(choice)
    return [tool for tool in tools or () if tool.function.name in allowed], choice.allowed_tools.mode


def _chosen(choice: ToolChoice | None) -> list[str]:
    if isinstance(choice, NamedTool):
        return [choice.function.name]
    if isinstance(choice, AllowedToolsChoice):
        return [tool.function.name for tool in choice.allowed_tools.tools]
    return []
