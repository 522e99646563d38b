"""Body of POST /v1/responses, and the chat completion request that it stands for."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.gateway.openai import responses_input, validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.fields import Effort, Hint, Identifier, Metadata, ModelName, Name, Request, Text, Tokens
from services.gateway.openai.responses_input import Input
from services.gateway.openai.sampling import SamplingFields, ServiceTier
from services.gateway.openai.structured_output import DescribedSchema, Schema
from services.gateway.openai.tools import MAX_TOOLS, argument_schemas

LOGPROBS = "message.output_text.logprobs"
SAMPLING = set(SamplingFields.model_fields)


class FunctionTool(Request):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: Annotated[Text, Field(max_length=16_384)] | None = None
    parameters: DescribedSchema | None = None
    strict: bool | None = None


class NamedFunction(Request):
    """A function by name."""

    type: Literal["function"]
    name: Name


class AllowedFunctions(Request):
    """A choice of several functions."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MAX_TOOLS)]


class PlainFormat(Request):
    """Plain text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Request):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[Schema, Field(alias="schema")]
    description: Annotated[Text, Field(max_length=4096)] | None = None
    strict: bool | None = None


class TextOptions(Request):
    """Options of the generated text."""

    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Hint[Literal["medium"]] = None


class ReasoningOptions(Request):
    """Options of the reasoning."""

    effort: Hint[Effort] = None
    summary: Hint[None] = None


class ResponseStreamOptions(Request):
    """Options of a streamed response."""

    include_obfuscation: Hint[Literal[False]] = None


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[NamedFunction | AllowedFunctions, Field(discriminator="type")]
)  # fmt: skip


Included = Literal["message.output_text.logprobs"]


class ResponsesRequest(SamplingFields):
    """Body of POST /v1/responses. Responses are not stored, so each request carries its whole conversation."""

    model: ModelName
    input: Input
    instructions: Text | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Tokens | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Hint[Included]], Field(max_length=16)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    user: Hint[Identifier] = None
    safety_identifier: Hint[Identifier] = None
    prompt_cache_key: Hint[Identifier] = None
    metadata: Hint[Metadata] = None
    service_tier: ServiceTier | None = None
    # The values that describe what Tidegate does anyway.
    store: Hint[Literal[False]] = None
    truncation: Hint[Literal["disabled"]] = None
    background: Literal[False] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        responses_input.check_calls(self.input)
        names = [tool.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError("tools: function names must differ")
        if self.top_logprobs and not self.shows_logprobs:
            raise ValueError(f"top_logprobs: needs '{LOGPROBS}' in include")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: 'required' needs tools")
        for name in _chosen(self.tool_choice):
            if name not in names:
                raise ValueError(f"tool_choice: no tool is named {name!r}")
        if self.tools and self.tool_choice != "none":
            chosen = _chosen(self.tool_choice)
            forced = _forces_call(self.tool_choice)
            argument_schemas(self.tools, forced=forced, chosen=chosen, place="tools[{}].parameters")
        return self

    @property
    def shows_logprobs(self) -> bool:
        """Whether the answer has log probabilities."""
        return LOGPROBS in (self.include or ())

    @cached_property
    def chat(self) -> ChatCompletionRequest:
        """The same request as a chat completion, which is validated as well. Raises InvalidRequest."""
        document = {
            "model": self.model,
            "messages": responses_input.messages(self.instructions, self.input),
            "stream": bool(self.stream),
            "max_completion_tokens": self.max_output_tokens,
            **self.model_dump(include=SAMPLING, by_alias=True, exclude_none=True),
            "logprobs": self.shows_logprobs or None,
            "top_logprobs": self.top_logprobs,
            "tools": [_tool(tool) for tool in self.tools or ()] or None,
            "tool_choice": _tool_choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": _format(self.text),
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            "service_tier": self.service_tier,
        }
        return validation.check(ChatCompletionRequest, document)

    def echo(self) -> dict[str, Any]:
        """Returns the fields of the request that the response repeats."""
        shown = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "background": False,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": None,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "presence_penalty": self.presence_penalty or 0.0,
            "previous_response_id": None,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {"effort": self.reasoning.effort if self.reasoning else None, "summary": None},
            "safety_identifier": self.safety_identifier,
            "store": False,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": {"format": {"type": "text"}, **shown.get("text", {})},
            "tool_choice": shown.get("tool_choice", "auto"),
            "tools": [
                {"description": None, "parameters": None, "strict": None, **tool} for tool in shown.get("tools", ())
            ],
            "top_logprobs": self.top_logprobs or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "truncation": "disabled",
            "user": self.user,
        }


def _chosen(choice: ToolChoice | None) -> list[str]:
    if isinstance(choice, NamedFunction):
        return [choice.name]
    return [tool.name for tool in choice.tools] if isinstance(choice, AllowedFunctions) else []


def _forces_call(choice: ToolChoice | None) -> bool:
    if isinstance(choice, AllowedFunctions):
        return choice.mode == "required"
    return choice == "required" or isinstance(choice, NamedFunction)


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if isinstance(choice, NamedFunction):
        return _named(choice.name)
    if isinstance(choice, AllowedFunctions):
        allowed = {"mode": choice.mode, "tools": [_named(tool.name) for tool in choice.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice


def _format(text: TextOptions | None) -> dict[str, Any] | None:
    if text is None or text.format is None:
        return None
    if isinstance(text.format, PlainFormat):
        return {"type": text.format.type}
    return {"type": "json_schema", "json_schema": text.format.model_dump(exclude={"type"}, by_alias=True)}
