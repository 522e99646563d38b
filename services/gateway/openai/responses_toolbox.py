"""The functions that the tools of a response become, and which of them the model must call.

A custom tool is a function of one text. The tools of a namespace are functions whose names begin with the namespace's.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from services.gateway.openai.responses_tools import (
    AllowedTools,
    CustomTool,
    FunctionTool,
    GrammarInput,
    NamedTool,
    NamespaceTool,
    SingleTool,
    ToolChoice,
    forces_call,
)
from services.gateway.openai.schemas.bound_schema import bound_schema
from services.gateway.openai.schemas.budget import Budget
from services.gateway.openai.schemas.problem import SchemaProblem
from services.gateway.openai.tools import MAX_TOOLS, argument_schemas

MAX_NAME = 64
_HASH_CHARACTERS = 8


@dataclass(frozen=True)
class Callee:
    """A tool as the model calls it.

    Attributes:
        tool: the tool.
        namespace: that it is in; None if it is in none.
        place: of the tool in the request.
        function: the function's name.
    """

    tool: SingleTool
    namespace: str | None
    place: str
    function: str

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function

    @property
    def parameters(self) -> dict[str, Any] | bool | None:
        """The schema that binds a call."""
        return self.tool.bound_parameters if isinstance(self.tool, CustomTool) else self.tool.parameters

    @cached_property
    def strict(self) -> bool | None:
        """Whether the schema binds every call. A grammar that no engine can hold a call to only describes."""
        return self.tool.strict if isinstance(self.tool, FunctionTool) else _can_bind(self.tool)


def _can_bind(tool: CustomTool) -> bool:
    if not isinstance(tool.format, GrammarInput) or tool.format.pattern is None:
        return False
    try:
        bound_schema(tool.bound_parameters, tool.name, Budget())
    except SchemaProblem:
        return False
    return True


@dataclass(frozen=True)
class Toolbox:
    """The tools of one request that are served here, by the names that the model knows them by."""

    callees: tuple[Callee, ...]

    @classmethod
    def of(cls, tools: Sequence[FunctionTool | CustomTool | NamespaceTool | None]) -> "Toolbox":
        """Returns the toolbox.

        Raises:
            ValueError: two tools have one name, or there are too many.
        """
        found = list(_flat(tools))
        named: dict[tuple[str | None, str], SingleTool] = {}
        for namespace, tool, _ in found:
            if named.setdefault((namespace, tool.name), tool) is not tool:
                raise ValueError("tools: names must differ")
        if len(found) > MAX_TOOLS:
            raise ValueError(f"tools: at most {MAX_TOOLS} tools are taken, those of namespaces included")
        taken = {tool.name for namespace, tool, _ in found if namespace is None and len(tool.name) <= MAX_NAME}
        callees: list[Callee] = []
        for namespace, tool, place in found:
            function = function_name(namespace, tool.name)
            if namespace is not None and function in taken:
                function = _shortened(f"{namespace}\x00{tool.name}", function)
            taken.add(function)
            callees.append(Callee(tool, namespace, place, function))
        return cls(tuple(callees))

    @cached_property
    def by_function(self) -> dict[str, Callee]:
        """The tools by the names of their functions."""
        return {callee.function: callee for callee in self.callees}

    def function(self, namespace: str | None, name: str) -> str:
        """Returns the name of the function that an earlier call was of, whether the tool is still there or not."""
        for callee in self.callees:
            if (callee.namespace, callee.tool.name) == (namespace, name):
                return callee.function
        return function_name(namespace, name)

    def chosen(self, choice: ToolChoice | None) -> list[str]:
        """Returns the functions that a choice lists; none: all.

        Raises:
            ValueError: it lists a tool that is not there.
        """
        if isinstance(choice, NamedTool):
            return [self._find(choice)]
        if isinstance(choice, AllowedTools):
            return [self._find(tool) for tool in choice.tools if tool]
        return []

    def _find(self, named: NamedTool) -> str:
        found = [
            callee.function
            for callee in self.callees
            if callee.tool.type == named.type
            and named.name in (callee.tool.name, callee.function)
            and named.namespace in (None, callee.namespace)
        ]
        if not found:
            raise ValueError(f"tool_choice: no tool is named {named.name!r}")
        if len(found) > 1:
            raise ValueError(f"tool_choice: several tools are named {named.name!r}; give the 'namespace' as well")
        return found[0]

    def check(self, choice: ToolChoice | None) -> None:
        """Checks a choice, and that the tools which it forces can be forced.

        Raises:
            ValueError: no tool fits the choice, or a schema or grammar cannot bind.
        """
        chosen, forced = self.chosen(choice), forces_call(choice)
        if forced and not (chosen or (self.callees and not isinstance(choice, AllowedTools))):
            raise ValueError("tool_choice: 'required' needs tools that are served here")
        if choice == "none":
            return
        for callee in self.callees:
            if forced and (not chosen or callee.function in chosen):
                _check_grammar(callee)
        for callee in self.callees:
            place = f"{callee.place}.parameters"
            argument_schemas([callee], forced=forced, chosen=chosen, place=place)

    def functions(self) -> list[dict[str, Any]]:
        """Returns the tools as chat completions have them."""
        return [{"type": "function", "function": _function(callee)} for callee in self.callees]

    def chat_choice(self, choice: ToolChoice | None) -> Any:
        """Returns the choice as chat completions have it."""
        if choice == "auto" and not self.callees:
            return None
        if isinstance(choice, NamedTool):
            return _named(self._find(choice))
        if isinstance(choice, AllowedTools):
            if not (chosen := self.chosen(choice)):
                return "none"
            return {
                "type": "allowed_tools",
                "allowed_tools": {"mode": choice.mode, "tools": [_named(function) for function in chosen]},
            }
        return choice


def function_name(namespace: str | None, name: str) -> str:
    """Returns the name of the function that a tool becomes: the namespace's and its own, short enough for models."""
    between = "" if namespace is None or namespace.endswith("__") else "__"
    full = f"{namespace or ''}{between}{name}"
    return full if len(full) <= MAX_NAME else _shortened(full, full)


def _shortened(unique: str, full: str) -> str:
    """A name of at most MAX_NAME characters that still tells apart what begins alike."""
    digest = hashlib.sha256(unique.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{full[: MAX_NAME - _HASH_CHARACTERS - 1]}_{digest}"


def _flat(
    tools: Sequence[FunctionTool | CustomTool | NamespaceTool | None],
) -> Iterator[tuple[str | None, SingleTool, str]]:
    """Yields namespace, tool and place of each tool that is served."""
    for index, tool in enumerate(tools):
        if isinstance(tool, NamespaceTool):
            for inner, one in enumerate(tool.tools):
                if one:
                    yield tool.name, one, f"tools[{index}].tools[{inner}]"
        elif tool:
            yield None, tool, f"tools[{index}]"


def _check_grammar(callee: Callee) -> None:
    if isinstance(callee.tool, CustomTool) and isinstance(callee.tool.format, GrammarInput) and not callee.strict:
        syntax = callee.tool.format.syntax
        instead = "use the syntax 'regex'" if syntax == "lark" else "use a simpler expression"
        raise ValueError(
            f"{callee.place}.format.definition: a forced call cannot be held to this {syntax} grammar; {instead}, "
            "or tool_choice 'auto', with which it only describes the input"
        )


def _function(callee: Callee) -> dict[str, Any]:
    tool = callee.tool
    # What the model reads of a custom tool is the grammar, and what binds is its pattern: one schema says both.
    bound = isinstance(tool, CustomTool) and callee.strict
    parameters = callee.parameters if bound else tool.parameters
    fields = {"description": tool.description, "parameters": parameters, "strict": callee.strict or None}
    return {"name": callee.function, **{key: value for key, value in fields.items() if value is not None}}


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}
