"""Tools that a model may call, and which of them it must."""

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Protocol

import orjson
from pydantic import Field

from services.gateway.openai.fields import FunctionType, Name, Request, Text
from services.gateway.openai.schemas.bound_schema import bound_schema
from services.gateway.openai.schemas.budget import Budget
from services.gateway.openai.schemas.problem import SchemaProblem
from services.gateway.openai.structured_output import DescribedSchema

MAX_TOOLS = 128
MAX_BOUND_BYTES = 1 << 20


class Function(Request):
    """A function that the model may call."""

    name: Name
    description: Annotated[Text, Field(max_length=16_384)] | None = None
    parameters: DescribedSchema | None = None
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
    for name in chosen(choice):
        if name not in names:
            raise ValueError(f"tool_choice: no tool is named {name!r}")
    if choice == "required" and not names:
        raise ValueError("tool_choice: 'required' needs tools")


def narrow(tools: list[Tool] | None, choice: ToolChoice | None) -> tuple[list[Tool], Choice | None]:
    """Returns the tools that the choice allows, and the choice in words that chat templates know."""
    if not isinstance(choice, AllowedToolsChoice):
        return tools or [], choice
    allowed = chosen(choice)
    return [tool for tool in tools or () if tool.function.name in allowed], choice.allowed_tools.mode


def forces_call(choice: ToolChoice | None) -> bool:
    """Whether the model must call a function."""
    if isinstance(choice, AllowedToolsChoice):
        return choice.allowed_tools.mode == "required"
    return choice == "required" or isinstance(choice, NamedTool)


class Bindable(Protocol):
    """A function, as chats or responses have it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def parameters(self) -> dict[str, Any] | bool | None:
        """Its schema."""
        ...

    @property
    def strict(self) -> bool | None:
        """Whether its schema binds every call."""
        ...


def argument_schemas(
    functions: Iterable[Bindable], *, forced: bool, chosen: Collection[str], place: str
) -> dict[str, dict[str, Any]]:
    """Returns the schemas that bind the arguments of calls, by the functions' names.

    These are the schemas of strict functions, and of those of which the model must call one. The others only describe.

    Args:
        functions: all functions of the request.
        forced: the model must call one.
        chosen: names of those that it may call; none: all of them.
        place: path of the parameters of the function with the number `{}`.

    Raises:
        ValueError: a schema cannot bind; the error names its place and the keyword at fault.
    """
    budget = Budget()
    bound: dict[str, dict[str, Any]] = {}
    for index, function in enumerate(functions):
        if (function.strict or forced) and (not chosen or function.name in chosen):
            try:
                bound[function.name] = bound_schema(function.parameters, function.name, budget)
            except SchemaProblem as problem:
                instead = "use tool_choice 'auto'" if forced else "leave out 'strict'"
                raise ValueError(f"{place.format(index)}: {problem}; {instead}, or change the schema") from None
    if bound and len(orjson.dumps(bound)) > MAX_BOUND_BYTES:
        raise ValueError(f"tools: the schemas that bind calls are larger than {MAX_BOUND_BYTES} bytes together")
    return bound


def template_tools(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Returns tools as chat templates read them: their schemas as they came, a boolean one as an object."""
    documents = [tool.model_dump(exclude_none=True) for tool in tools]
    for document in documents:
        if isinstance(whole := document["function"].get("parameters"), bool):
            document["function"]["parameters"] = {} if whole else {"not": {}}
    return documents


def chosen(choice: ToolChoice | None) -> list[str]:
    """Returns the names of the functions that the choice lists; none: all functions."""
    if isinstance(choice, NamedTool):
        return [choice.function.name]
    if isinstance(choice, AllowedToolsChoice):
        return [tool.function.name for tool in choice.allowed_tools.tools]
    return []
