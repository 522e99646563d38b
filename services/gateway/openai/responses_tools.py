"""The tools of the Responses API and the choice among them, as requests have them.

Kinds other than these run at OpenAI or in one product; nobody serves them here, so they are left out.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from services.gateway.openai.custom_input import FIELD
from services.gateway.openai.fields import LENIENT, Request, Text
from services.gateway.openai.structured_output import DescribedSchema
from services.gateway.openai.tools import MAX_TOOLS

MAX_GRAMMAR_CHARACTERS = 10_000
_SERVED = ("function", "custom", "namespace")

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
Description = Annotated[Text, Field(max_length=16_384)]


class FunctionTool(Request):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: Description | None = None
    parameters: DescribedSchema | None = None
    strict: bool | None = None


class PlainInput(Request):
    """Any text."""

    type: Literal["text"]


class GrammarInput(Request):
    """Text that a grammar accepts."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: Annotated[Text, Field(min_length=1, max_length=MAX_GRAMMAR_CHARACTERS)]

    @property
    def pattern(self) -> str | None:
        """The regular expression that whole texts match; None for other grammars."""
        inner = self.definition.removeprefix("^").removesuffix("$")
        return f"^(?:{inner})$" if self.syntax == "regex" else None


class CustomTool(Request):
    """A tool that the model calls with a text."""

    type: Literal["custom"]
    name: ToolName
    description: Description | None = None
    format: Annotated[PlainInput | GrammarInput, Field(discriminator="type")] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The schema of the function that it becomes. The grammar is told to the model."""
        text: dict[str, Any] = {"type": "string"}
        if isinstance(self.format, GrammarInput):
            text["description"] = f"A text that this {self.format.syntax} grammar accepts:\n{self.format.definition}"
        return {"type": "object", "properties": {FIELD: text}, "required": [FIELD], "additionalProperties": False}

    @property
    def bound_parameters(self) -> dict[str, Any]:
        """The schema that binds a call."""
        schema = self.parameters
        if isinstance(self.format, GrammarInput) and self.format.pattern:
            schema["properties"][FIELD]["pattern"] = self.format.pattern
        return schema


SingleTool = FunctionTool | CustomTool


def _or_left_out(tool: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if isinstance(tool, dict) and isinstance(kind := tool.get("type"), str) and kind not in _SERVED:
        if info.context is LENIENT:
            return None
        raise ValueError("is not served here")
    return handler(tool)


_Served = Annotated[SingleTool, Field(discriminator="type")]


class NamespaceTool(Request):
    """Tools under one name."""

    type: Literal["namespace"]
    name: ToolName
    description: Description | None = None
    tools: Annotated[list[Annotated[_Served | None, WrapValidator(_or_left_out)]], Field(max_length=MAX_TOOLS)]


_Any = Annotated[FunctionTool | CustomTool | NamespaceTool, Field(discriminator="type")]
Tools = Annotated[list[Annotated[_Any | None, WrapValidator(_or_left_out)]], Field(max_length=MAX_TOOLS)]


class NamedTool(Request):
    """A tool by name."""

    type: Literal["function", "custom"]
    name: ToolName
    namespace: ToolName | None = None


class AllowedTools(Request):
    """A choice of several tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[NamedTool | None, WrapValidator(_or_left_out)]], Field(min_length=1, max_length=MAX_TOOLS)
    ]


class OneFunction(NamedTool):
    """A choice of one function."""

    type: Literal["function"]


class OneCustomTool(NamedTool):
    """A choice of one custom tool."""

    type: Literal["custom"]


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[OneFunction | OneCustomTool | AllowedTools, Field(discriminator="type")]
)  # fmt: skip


def forces_call(choice: ToolChoice | None) -> bool:
    """Whether the model must call a tool."""
    if isinstance(choice, AllowedTools):
        return choice.mode == "required"
    return choice == "required" or isinstance(choice, NamedTool)
