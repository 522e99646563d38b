"""Tools in Anthropic's Messages API, and which of them the model must use."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from services.gateway.openai.fields import LENIENT, Name, Request, Text
from services.gateway.openai.structured_output import Schema
from services.gateway.openai.tools import MAX_TOOLS


class Tool(Request):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: Name
    description: Annotated[Text, Field(max_length=16_384)] | None = None
    input_schema: Schema
    strict: bool | None = None

    def function(self) -> dict[str, Any]:
        """Returns the tool as chat completions have it."""
        function = {"name": self.name, "description": self.description, "parameters": self.input_schema}
        return {"type": "function", "function": {**function, "strict": self.strict}}


def _or_left_out(tool: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Tools that Anthropic defines or runs itself, such as web_search_20250305, are left out: nobody has them here."""
    if isinstance(tool, dict) and isinstance(kind := tool.get("type"), str) and kind != "custom":
        if info.context is LENIENT:
            return None
        raise ValueError("is not known")
    return handler(tool)


class AnyToolChoice(Request):
    """How the model uses tools: as it likes, or at least one."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedToolChoice(Request):
    """A choice of one tool, which the model must use."""

    type: Literal["tool"]
    name: Name
    disable_parallel_tool_use: bool | None = None


class NoToolChoice(Request):
    """The model uses no tool."""

    type: Literal["none"]

    @property
    def disable_parallel_tool_use(self) -> None:
        """There is nothing to disable."""


Tools = Annotated[list[Annotated[Tool | None, WrapValidator(_or_left_out)]], Field(max_length=MAX_TOOLS)]
ToolChoice = Annotated[AnyToolChoice | NamedToolChoice | NoToolChoice, Field(discriminator="type")]


def check_choice(tools: list[Tool], choice: ToolChoice | None) -> None:
    """Checks the choice against the tools.

    Raises:
        ValueError: two tools have one name, or no tool fits the choice.
    """
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise ValueError("tools: names must differ")
    if isinstance(choice, NamedToolChoice) and choice.name not in names:
        raise ValueError(f"tool_choice.name: no tool is named {choice.name!r}")
    if isinstance(choice, AnyToolChoice) and choice.type == "any" and not names:
        raise ValueError("tool_choice: 'any' needs tools")


def chat_choice(choice: ToolChoice | None) -> Any:
    """Returns the choice as chat completions have it."""
    if isinstance(choice, NamedToolChoice):
        return {"type": "function", "function": {"name": choice.name}}
    return None if choice is None else {"auto": "auto", "any": "required", "none": "none"}[choice.type]
