"""The turns of a conversation in Anthropic's Messages API, and the chat messages that they stand for."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from services.gateway.anthropic.content import (
    AssistantContent,
    ReadBlock,
    ReadContent,
    Texts,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserContent,
)
from services.gateway.openai.fields import Request, Text
from services.gateway.openai.messages import MAX_MESSAGES, MAX_PARTS

BILLING_LINE = "x-anthropic-billing-header"
"""Claude Code begins its system prompt with such a line. It only labels, and it differs in each request: a model that
read it could never use the cached beginning of a prompt again."""
ERROR = "Error: "
"""What a tool returned begins with this if the client says that it is an error and the text does not."""


class UserTurn(Request):
    """What the user says, and what tools returned."""

    role: Literal["user"]
    content: UserContent


class AssistantTurn(Request):
    """What the model said or called before."""

    role: Literal["assistant"]
    content: AssistantContent


class SystemTurn(Request):
    """Instructions in the middle of a conversation."""

    role: Literal["system"]
    content: Text | Texts


Turn = Annotated[UserTurn | AssistantTurn | SystemTurn, Field(discriminator="role")]
Turns = Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
System = Text | Texts
Message = dict[str, Any]


def check_results(turns: list[Turn]) -> None:
    """Checks that every result answers a call before it.

    Raises:
        ValueError: one does not.
    """
    called: set[str] = set()
    for index, turn in enumerate(turns):
        for place, block in enumerate(turn.content if isinstance(turn.content, list) else ()):
            if isinstance(block, ToolUseBlock):
                called.add(block.id)
            elif isinstance(block, ToolResultBlock) and block.tool_use_id not in called:
                where = f"messages[{index}].content[{place}].tool_use_id"
                raise ValueError(f"{where}: answers no tool_use block of an earlier assistant message")


def messages(system: System | None, turns: Iterable[Turn]) -> list[Message]:
    """Returns a conversation as chat templates read it."""
    told: list[Message] = []
    if instructions := [text for text in _texts(system or ()) if not text.startswith(BILLING_LINE)]:
        told.append({"role": "system", "content": instructions})
    for turn in turns:
        _add(told, turn)
    return [_with_parts(message) for message in told]


def _add(told: list[Message], turn: Turn) -> None:
    """Adds a turn. Turns of one role that follow one another are one turn; results stand right after their calls."""
    match turn:
        case UserTurn():
            told += _results(turn.content)
            if texts := list(_texts(turn.content)):
                _message(told, "user")["content"] += texts
            elif not turn.content:
                _message(told, "user")
        case AssistantTurn():
            _say(_message(told, "assistant"), turn.content)
        case SystemTurn():
            _message(told, "system")["content"] += _texts(turn.content)


def _message(told: list[Message], role: str) -> Message:
    """Returns the last message if its role is this one; otherwise a new one."""
    if not told or told[-1]["role"] != role:
        told.append({"role": role, "content": []})
    return told[-1]


def _texts(content: UserContent | AssistantContent | ReadContent | Iterable[Any]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for block in content:
        if isinstance(block, ReadBlock):
            yield block.text


def _results(content: UserContent) -> Iterator[Message]:
    for block in content if isinstance(content, list) else ():
        if isinstance(block, ToolResultBlock):
            texts = list(_texts(block.content or ()))
            if block.is_error and not "".join(texts).lower().startswith("error"):
                texts[:1] = [ERROR + "".join(texts[:1])]
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": texts}


def _say(message: Message, content: AssistantContent) -> None:
    message["content"] += _texts(content)
    for block in content if isinstance(content, list) else ():
        if isinstance(block, ThinkingBlock):
            message["reasoning_content"] = message.get("reasoning_content", "") + block.thinking
        elif isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": orjson.dumps(block.input).decode()}
            message.setdefault("tool_calls", []).append({"id": block.id, "type": "function", "function": function})


def _with_parts(message: Message) -> Message:
    """A single text is a string, which every chat template can read. Several are parts, as far as there may be."""
    texts = message["content"]
    in_parts = 1 < len(texts) <= MAX_PARTS
    content = [{"type": "text", "text": text} for text in texts] if in_parts else "\n".join(texts)
    if not content and "tool_calls" in message:
        return {key: value for key, value in message.items() if key != "content"}
    return {**message, "content": content}
