"""Messages of a chat. They hold text only: the gateway never fetches what a client names."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.gateway.openai.fields import Name, Request, Text

MAX_MESSAGES = 2048


class TextPart(Request):
    """A part of a message that holds text."""

    type: Literal["text"]
    text: Text


class RefusalPart(Request):
    """A part of an assistant message that holds a refusal."""

    type: Literal["refusal"]
    refusal: Text


AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Content = Text | Annotated[list[TextPart], Field(min_length=1, max_length=256)]


class SystemMessage(Request):
    """Instructions to the model."""

    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Request):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: Name | None = None


class FunctionCall(Request):
    """Name and arguments of a function that the model called. The arguments are JSON as text."""

    name: Name
    arguments: Text


class ToolCall(Request):
    """A call of a tool, as the assistant made it."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(Request):
    """What the model said or called before."""

    role: Literal["assistant"]
    content: Text | Annotated[list[AssistantPart], Field(min_length=1, max_length=256)] | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None
    name: Name | None = None
    # Fields of responses, ours or OpenAI's, that clients send back unchanged.
    annotations: Annotated[Annotated[list[None], Field(max_length=0)] | None, Field(exclude=True)] = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and not self.tool_calls and self.refusal is None:
            raise ValueError("content: an assistant message needs content or tool_calls")
        return self


class ToolMessage(Request):
    """What a tool returned."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1, max_length=128)]


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]
Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]


def check_tool_calls(messages: list[Message]) -> None:
    """Checks that every tool message answers a call before it.

    Raises:
        ValueError: one does not.
    """
    called: set[str] = set()
    for index, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            called.update(call.id for call in message.tool_calls or ())
        elif isinstance(message, ToolMessage) and message.tool_call_id not in called:
            raise ValueError(f"messages[{index}].tool_call_id: answers no tool call of an earlier assistant message")
