"""Messages of a chat. They hold text only: the gateway never fetches what a client names."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from services.gateway.openai.fields import FunctionType, Hint, Name, Request, Speaker, Text

MAX_MESSAGES = 2048
MAX_PARTS = 256


class TextPart(Request):
    """A part of a message that holds text."""

    type: Literal["text"]
    text: Text


class RefusalPart(Request):
    """A part of an assistant message that holds a refusal."""

    type: Literal["refusal"]
    refusal: Text


AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Content = Text | Annotated[list[TextPart], Field(max_length=MAX_PARTS)]


class SystemMessage(Request):
    """Instructions to the model."""

    role: Literal["system", "developer"]
    content: Content
    name: Hint[Speaker] = None


class UserMessage(Request):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: Hint[Speaker] = None


class FunctionCall(Request):
    """Name and arguments of a function that the model called. The arguments are JSON as text."""

    name: Name
    arguments: Text


class ToolCall(Request):
    """A call of a tool, as the assistant made it."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    type: FunctionType = "function"
    function: FunctionCall


class AssistantMessage(Request):
    """What the model said or called before."""

    role: Literal["assistant"]
    content: Text | Annotated[list[AssistantPart], Field(max_length=MAX_PARTS)] | None = None
    refusal: Text | None = None
    # Two names of one thing. Clients send back the one that they read.
    reasoning_content: Text | None = None
    reasoning: Hint[Text] = None
    name: Hint[Speaker] = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    # Fields of responses, ours or OpenAI's, that clients send back unchanged.
    annotations: Annotated[Any, Field(exclude=True)] = None
    audio: None = None
    function_call: None = None


class ToolMessage(Request):
    """What a tool returned."""

    role: Literal["tool"]
    content: Content
    name: Hint[Speaker] = None
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


def messages_json(messages: Iterable[Message]) -> bytes:
    """Returns messages as chat templates read them, as JSON."""
    return orjson.dumps([_template_message(message) for message in messages])


def _template_message(message: Message) -> dict[str, Any]:
    """An empty list of parts is an empty text, and an empty list of calls is none."""
    document = message.model_dump(exclude_none=True)
    if document.get("content") == []:
        document["content"] = ""
    if isinstance(message, AssistantMessage):
        _complete(document)
    return document


def _complete(turn: dict[str, Any]) -> None:
    """Gives the assistant's reasoning its one name, and text to a turn that has nothing else."""
    if reasoning := turn.pop("reasoning", None):
        turn.setdefault("reasoning_content", reasoning)
    if not turn.get("tool_calls"):
        turn.pop("tool_calls", None)
        if "refusal" not in turn:
            turn.setdefault("content", "")
