"""The input items of OpenAI's Responses API, and the chat messages that they stand for."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from services.gateway.openai.fields import Name, Request, Text
from services.gateway.openai.messages import MAX_MESSAGES

Status = Literal["in_progress", "completed", "incomplete"]
Id = Annotated[str, Field(max_length=128)]
CallId = Annotated[str, Field(min_length=1, max_length=128)]
Ignored = Annotated[list[Any], Field(max_length=65_536)]
"""What our own responses hold beside the text. Clients send it back when they repeat a response unchanged."""


class InputText(Request):
    """Text from the user."""

    type: Literal["input_text"]
    text: Text


class OutputText(Request):
    """Text that the model generated before."""

    type: Literal["output_text"]
    text: Text
    annotations: Ignored | None = None
    logprobs: Ignored | None = None


class Refusal(Request):
    """A refusal that the model generated before."""

    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        """The refusal, read like other text."""
        return self.refusal


class ReasoningText(Request):
    """Reasoning that the model generated before."""

    type: Literal["reasoning_text"]
    text: Text


Part = Annotated[InputText | OutputText | Refusal, Field(discriminator="type")]
Content = Text | Annotated[list[Part], Field(max_length=256)]


class MessageItem(Request):
    """A message of any role."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: Id | None = None
    status: Status | None = None
    phase: Any = None


class FunctionCallItem(Request):
    """A function call that the model made before."""

    type: Literal["function_call"]
    call_id: CallId
    name: Name
    arguments: Text
    id: Id | None = None
    status: Status | None = None


class FunctionCallOutputItem(Request):
    """What a function returned."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Text | Annotated[list[InputText], Field(max_length=256)]
    id: Id | None = None
    status: Status | None = None


class ReasoningItem(Request):
    """Reasoning that came with an earlier response."""

    type: Literal["reasoning"]
    summary: Ignored
    content: Annotated[list[ReasoningText], Field(max_length=256)] | None = None
    encrypted_content: None = None
    id: Id | None = None
    status: Status | None = None


def _kind(item: Any) -> str | None:
    """The `type` of a message may be left out."""
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return "message" if kind is None else kind


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]
Input = Annotated[Text, Field(min_length=1)] | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]


def check_calls(items: Input) -> None:
    """Checks that every output answers a function call before it.

    Raises:
        ValueError: one does not.
    """
    called: set[str] = set()
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, FunctionCallItem):
            called.add(item.call_id)
        elif isinstance(item, FunctionCallOutputItem) and item.call_id not in called:
            raise ValueError(f"input[{index}].call_id: answers no function call before it")


def messages(instructions: str | None, items: Input) -> list[dict[str, Any]]:
    """Returns the input as chat templates read it: reasoning, text and calls of one turn are one assistant message."""
    turns: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(items, str):
        return [*turns, {"role": "user", "content": items}]
    for item in items:
        _add(turns, item)
    return [_with_content(turn) for turn in turns]


def _add(turns: list[dict[str, Any]], item: Item) -> None:
    match item:
        case MessageItem(role="assistant"):
            turn = _assistant(turns, after=("reasoning_content",))
            turn["content"] = text_of(item.content)
        case MessageItem():
            turns.append({"role": item.role, "content": text_of(item.content)})
        case ReasoningItem():
            turn = _assistant(turns, after=())
            turn["reasoning_content"] = "".join(part.text for part in item.content or ())
        case FunctionCallItem():
            turn = _assistant(turns, after=("reasoning_content", "content", "tool_calls"))
            function = {"name": item.name, "arguments": item.arguments}
            turn.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})
        case FunctionCallOutputItem():
            turns.append({"role": "tool", "tool_call_id": item.call_id, "content": text_of(item.output)})


def _assistant(turns: list[dict[str, Any]], after: Iterable[str]) -> dict[str, Any]:
    """Returns the assistant's message to extend if it has nothing but what may come before; otherwise a new one."""
    last = turns[-1] if turns else {}
    if last.get("role") == "assistant" and set(last) <= {"role", *after}:
        return last
    turns.append({"role": "assistant"})
    return turns[-1]


def _with_content(turn: dict[str, Any]) -> dict[str, Any]:
    return turn if "content" in turn or "tool_calls" in turn else {**turn, "content": ""}


def text_of(content: str | Iterable[InputText | OutputText | Refusal]) -> str:
    """Returns the text of some content: a string, or parts."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
