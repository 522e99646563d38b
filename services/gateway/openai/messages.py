"""Messages of a chat. Text only: nothing that a client names is ever fetched."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.gateway.openai.fields import Name, Request, Text

MAX_MESSAGES = 2048


class TextPart(Request):
    type: Literal["text"]
    text: Text


class RefusalPart(Request):
    type: Literal["refusal"]
    refusal: Text


AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Content = Text | Annotated[list[TextPart], Field(min_length=1, max_length=256)]


class SystemMessage(Request):
    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Request):
    role: Literal["user"]
    content: Content
    name: Name | None = None


class FunctionCall(Request):
    name: Name
    arguments: Text


class ToolCall(Request):
    id: Annotated[str, Field(min_length=1, max_length=128)]
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(Request):
    role: Literal["assistant"]
    content: Text | Annotated[list[AssistantPart], Field(min_length=1, max_length=256)] | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None
    name: Name | None = None
    # What clients send back of an answer of ours, or of OpenAI's, without having looked at it.
    annotations: Annotated[Annotated[list[None], Field(max_length=0)] | None, Field(exclude=True)] = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ValueError("content: an assistant message needs content or tool_calls")
        return self


class ToolMessage(Request):
    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1, max_length=128)]


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


def check_tool_calls(messages: list[Message]) -> None:
    """Raises ValueError when a tool's answer belongs to no call before it."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            called.update(call.id for call in message.tool_calls or ())
        elif isinstance(message, ToolMessage) and message.tool_call_id not in called:
            raise ValueError(f"messages[{index}].tool_call_id: answers no tool call of an earlier assistant message")
