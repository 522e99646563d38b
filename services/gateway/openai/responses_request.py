"""Body of POST /v1/responses, and the chat completion request that it stands for."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.gateway.openai import responses_input, validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.fields import (
    Effort,
    Hint,
    Identifier,
    Metadata,
    ModelName,
    Name,
    Request,
    ServiceTier,
    Text,
    Tokens,
)
from services.gateway.openai.responses_input import Input
from services.gateway.openai.responses_toolbox import Toolbox
from services.gateway.openai.responses_tools import ToolChoice, Tools
from services.gateway.openai.sampling import SamplingFields
from services.gateway.openai.structured_output import Schema
from services.shared.errors import InvalidRequest

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"
SAMPLING = set(SamplingFields.model_fields)


_EMPTY = {"function": {"description": None, "parameters": None, "strict": None}}
"""What a tool always shows in a response."""


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


ResponseId = Annotated[str, Field(min_length=1, max_length=128)]
ConversationName = Annotated[str, Field(min_length=1, max_length=128)]


class ConversationReference(Request):
    """A conversation, by its id."""

    id: ConversationName


Included = Literal["message.output_text.logprobs", "reasoning.encrypted_content"]


class ResponsesRequest(SamplingFields):
    """Body of POST /v1/responses."""

    model: ModelName
    input: Input
    instructions: Text | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Tokens | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Hint[Included]], Field(max_length=16)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    user: Hint[Identifier] = None
    safety_identifier: Hint[Identifier] = None
    prompt_cache_key: Hint[Identifier] = None
    metadata: Hint[Metadata] = None
    service_tier: ServiceTier | None = None
    previous_response_id: ResponseId | None = None
    conversation: ConversationName | ConversationReference | None = None
    store: bool | None = None
    background: bool | None = None
    # The value that describes what Tidegate does anyway.
    truncation: Hint[Literal["disabled"]] = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.top_logprobs and not self.shows_logprobs:
            raise ValueError(f"top_logprobs: needs '{LOGPROBS}' in include")
        if self.background and self.store is False:
            raise ValueError("background: needs 'store', for the response is fetched later")
        if self.background and self.stream:
            raise ValueError("stream: cannot be true together with background; fetch the response by its id")
        if self.conversation and self.previous_response_id:
            raise ValueError("previous_response_id: cannot stand beside 'conversation'; leave one of them out")
        if self.conversation and self.store is False:
            raise ValueError("store: cannot be false beside 'conversation', which keeps what is said")
        self.toolbox.check(self.tool_choice)
        return self

    @property
    def conversation_id(self) -> str | None:
        """Of the conversation that the response belongs to."""
        return self.conversation.id if isinstance(self.conversation, ConversationReference) else self.conversation

    @property
    def shows_logprobs(self) -> bool:
        """Whether the answer has log probabilities."""
        return LOGPROBS in (self.include or ())

    @property
    def encrypts_reasoning(self) -> bool:
        """Whether reasoning comes in a form that the client can send back unread."""
        return ENCRYPTED_REASONING in (self.include or ())

    def check_stands_alone(self, *needs: str) -> None:
        """Checks that the request can be answered where nothing is stored.

        Args:
            needs: fields that need what is stored.

        Raises:
            InvalidRequest: it needs what is stored.
        """
        for name in needs:
            if getattr(self, name):
                text = f"Responses are not stored here: leave out '{name}', and send the whole conversation as 'input'."
                raise InvalidRequest(text, param=name, code="responses_not_stored")

    @cached_property
    def toolbox(self) -> Toolbox:
        """The tools that are served here."""
        return Toolbox.of(self.tools or ())

    @cached_property
    def chat(self) -> ChatCompletionRequest:
        """The same request as a chat completion, which is validated as well. Raises InvalidRequest."""
        responses_input.check_calls(self.input)
        messages = responses_input.messages(self.instructions, self.input, self.toolbox)
        if not messages:
            text = "Invalid value for 'input': has only items that are left out."
            raise InvalidRequest(text, param="input", code="invalid_value")
        document = {
            "model": self.model,
            "messages": messages,
            "stream": bool(self.stream),
            "max_completion_tokens": self.max_output_tokens,
            **self.model_dump(include=SAMPLING, by_alias=True, exclude_none=True),
            "logprobs": self.shows_logprobs or None,
            "top_logprobs": self.top_logprobs,
            "tools": self.toolbox.functions() or None,
            "tool_choice": self.toolbox.chat_choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": _format(self.text),
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            "service_tier": self.service_tier,
        }
        return validation.check(ChatCompletionRequest, document)

    def echo(self, *, stored: bool = False) -> dict[str, Any]:
        """Returns the fields of the request that the response repeats. stored: whether the response is kept."""
        shown = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        belongs = {"conversation": {"id": self.conversation_id}} if self.conversation_id else {}
        return {
            **belongs,
            "background": bool(self.background),
            "frequency_penalty": self.frequency_penalty or 0.0,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": None,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "presence_penalty": self.presence_penalty or 0.0,
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {"effort": self.reasoning.effort if self.reasoning else None, "summary": None},
            "safety_identifier": self.safety_identifier,
            "store": stored,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": {"format": {"type": "text"}, **shown.get("text", {})},
            "tool_choice": shown.get("tool_choice", "auto"),
            "tools": [{**_EMPTY.get(tool["type"], {}), **tool} for tool in shown.get("tools", ()) if tool],
            "top_logprobs": self.top_logprobs or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "truncation": "disabled",
            "user": self.user,
        }


def _format(text: TextOptions | None) -> dict[str, Any] | None:
    if text is None or text.format is None:
        return None
    if isinstance(text.format, PlainFormat):
        return {"type": text.format.type}
    return {"type": "json_schema", "json_schema": text.format.model_dump(exclude={"type"}, by_alias=True)}
