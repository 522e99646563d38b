"""Bodies of POST /v1/messages and /v1/messages/count_tokens, and the chat completion request that they stand for."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.gateway.anthropic import turns
from services.gateway.anthropic.tools import Tool, ToolChoice, Tools, chat_choice, check_choice
from services.gateway.anthropic.turns import AssistantTurn, System, Turns
from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.fields import (
    MAX_STOPS,
    Effort,
    Hint,
    Label,
    ModelName,
    Request,
    StopString,
    Tokens,
)
from services.gateway.openai.sampling import SamplingFields
from services.gateway.openai.structured_output import Schema

SAMPLING = set(SamplingFields.model_fields) - {"stop"}


class Thinking(Request):
    """Whether the model reasons before it answers. A budget of tokens is a hint."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]


class JsonOutput(Request):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[Schema, Field(alias="schema")]


class OutputConfig(Request):
    """Options of the answer."""

    effort: Hint[Effort] = None
    format: JsonOutput | None = None


class CountTokensRequest(Request):
    """Body of POST /v1/messages/count_tokens: what the model reads."""

    model: ModelName
    messages: Turns
    system: System | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    thinking: Hint[Thinking] = None
    output_config: OutputConfig | None = None
    # The older name of `output_config.format`.
    output_format: JsonOutput | None = None
    # What only matters when the message is made.
    max_tokens: Label = None
    stop_sequences: Label = None
    metadata: Label = None

    @model_validator(mode="after")
    def _blocks_agree(self) -> Self:
        turns.check_results(self.messages)
        check_choice(self.served_tools, self.tool_choice)
        if self.output_format and self.output_config and self.output_config.format:
            raise ValueError("output_format: cannot be given together with output_config.format")
        return self

    @property
    def served_tools(self) -> list[Tool]:
        """The tools that the model is told of."""
        return [tool for tool in self.tools or () if tool]

    @cached_property
    def chat(self) -> ChatCompletionRequest:
        """The same request as a chat completion, which is validated as well. Raises InvalidRequest."""
        return validation.check(ChatCompletionRequest, self._chat_document())

    def _chat_document(self) -> dict[str, Any]:
        single = self.tool_choice and self.tool_choice.disable_parallel_tool_use
        return {
            "model": self.model,
            "messages": turns.messages(self.system, self.messages),
            "tools": [tool.function() for tool in self.served_tools] or None,
            "tool_choice": chat_choice(self.tool_choice),
            "parallel_tool_calls": False if single else None,
            "response_format": self._response_format(),
            "reasoning_effort": self._effort(),
        }

    def _response_format(self) -> dict[str, Any] | None:
        shape = self.output_format or (self.output_config and self.output_config.format)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": shape.schema_}} if shape else None

    def _effort(self) -> str | None:
        if self.thinking and self.thinking.type == "disabled":
            return "none"
        return self.output_config.effort if self.output_config else None


class MessagesRequest(CountTokensRequest, SamplingFields):
    """Body of POST /v1/messages."""

    max_tokens: Tokens
    stream: bool | None = None
    stop_sequences: Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    service_tier: Literal["auto", "standard_only", "default", "flex", "priority"] | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> Self:
        last = len(self.messages) - 1
        if isinstance(self.messages[last], AssistantTurn):
            raise ValueError(f"messages[{last}].role: an answer cannot be begun for the model: end with a user message")
        if self.stop and self.stop_sequences:
            raise ValueError("stop: cannot be given together with stop_sequences")
        if self.min_tokens and self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens: must not be greater than max_tokens")
        return self

    @property
    def stops(self) -> list[str]:
        """The strings that end the answer."""
        return self.stop_sequences or self.stop or []

    def _chat_document(self) -> dict[str, Any]:
        return {
            **super()._chat_document(),
            **self.model_dump(include=SAMPLING, by_alias=True, exclude_none=True),
            "stop": self.stops or None,
            "max_tokens": self.max_tokens,
            "stream": bool(self.stream),
            "service_tier": "default" if self.service_tier == "standard_only" else self.service_tier,
        }
