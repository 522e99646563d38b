"""The input items of OpenAI's Responses API, and the chat messages that they stand for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from services.gateway.openai import custom_input
from services.gateway.openai.fields import LENIENT, Request, Text
from services.gateway.openai.messages import MAX_MESSAGES
from services.gateway.openai.responses_toolbox import Toolbox
from services.gateway.openai.responses_tools import ToolName
from services.shared.errors import InvalidRequest, NotFound

Status = Literal["in_progress", "completed", "incomplete"]
Id = Annotated[str, Field(max_length=128)]
CallId = Annotated[str, Field(min_length=1, max_length=128)]
HOSTED_CALLS = frozenset(
    {
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "computer_call"),
        *("computer_call_output", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
        *("apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request", "mcp_call"),
        *("mcp_approval_response", "tool_search_call"),
    }
)
"""Items that tell of tools which nobody serves here. They are left out, as the tools are."""
MAX_ENCRYPTED_CHARACTERS = 4 << 20
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


class SummaryText(Request):
    """A summary of reasoning."""

    type: Literal["summary_text"]
    text: Text


class ReasoningText(Request):
    """Reasoning that the model generated before."""

    type: Literal["reasoning_text", "text"]
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
    name: ToolName
    namespace: ToolName | None = None
    arguments: Text
    id: Id | None = None
    status: Status | None = None


class CustomCallItem(Request):
    """A call of a custom tool that the model made before."""

    type: Literal["custom_tool_call"]
    call_id: CallId
    name: ToolName
    namespace: ToolName | None = None
    input: Text
    id: Id | None = None
    status: Status | None = None

    @property
    def arguments(self) -> str:
        """The arguments of the function that the tool became."""
        return custom_input.arguments(self.input)


ToolOutput = Text | Annotated[list[InputText], Field(max_length=256)]


class CallOutputItem(Request):
    """What a function or a custom tool returned."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: CallId
    output: ToolOutput
    id: Id | None = None
    status: Status | None = None


class ReasoningItem(Request):
    """Reasoning that came with an earlier response."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], Field(max_length=256)] | None = None
    content: Annotated[list[ReasoningText], Field(max_length=256)] | None = None
    # Ours, or another server's. Whoever can open ours puts its text into `content`.
    encrypted_content: Annotated[str, Field(max_length=MAX_ENCRYPTED_CHARACTERS)] | None = None
    id: Id | None = None
    status: Status | None = None

    @property
    def text(self) -> str:
        """What the model thought; if only a summary is there, that."""
        return "".join(part.text for part in self.content or self.summary or ())

    def with_text(self, text: str) -> Self:
        """Returns the item with the text of the reasoning."""
        return self.model_copy(update={"content": [ReasoningText(type="reasoning_text", text=text)]})


class ItemReference(Request):
    """An item of a stored response, by its id. Whoever knows the stored responses puts the item in its place."""

    type: Literal["item_reference"] | None = None
    id: Id


def _or_left_out(item: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if item is None:
        raise ValueError("must be an object")
    if isinstance(item, dict) and _kind(item) in HOSTED_CALLS:
        if info.context is LENIENT:
            return None
        raise ValueError("is of a tool that is not served here")
    return handler(item)


def _kind(item: Any) -> str | None:
    """The `type` of a message may be left out, and that of a reference too."""
    # An item of ours has attributes; what is no item at all counts as a message, and is refused as one.
    found = item if isinstance(item, dict) else getattr(item, "__dict__", {})
    if (kind := found.get("type")) is None:
        return "item_reference" if "id" in found and "role" not in found else "message"
    return kind if isinstance(kind, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[CustomCallItem, Tag("custom_tool_call")]
    | Annotated[CallOutputItem, Tag("custom_tool_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_kind),
]
MaybeItem = Annotated[Item | None, WrapValidator(_or_left_out)]
"""None: of a tool that nobody serves here."""
Items = Annotated[list[MaybeItem], Field(min_length=1, max_length=MAX_MESSAGES)]
Input = Annotated[Text, Field(min_length=1)] | Items


def check_calls(items: Input) -> None:
    """Checks that every output answers a call before it, and that there is nothing left to look up.

    Raises:
        InvalidRequest: an output answers no call.
        NotFound: an item is a reference to one that nobody has.
    """
    if isinstance(items, str):
        return
    for index, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise not_found(item.id, f"input[{index}]")
    if (stray := stray_output(items)) is not None:
        raise answers_no_call(stray)


def stray_output(items: Sequence[Item | None]) -> int | None:
    """Returns where the first output is that answers no call before it; None if there is none."""
    called: set[str] = set()
    for index, item in enumerate(items):
        if isinstance(item, FunctionCallItem | CustomCallItem):
            called.add(item.call_id)
        elif isinstance(item, CallOutputItem) and item.call_id not in called:
            return index
    return None


def answers_no_call(index: int) -> InvalidRequest:
    """Returns the error for an output that answers no call. index: of the item in the input."""
    param = f"input[{index}].call_id"
    return InvalidRequest(f"Invalid value for '{param}': answers no call before it.", param=param, code="invalid_value")


def not_found(item_id: str, place: str) -> NotFound:
    """Returns the error for a reference to an item that nobody has. place: of the reference in the request."""
    return NotFound(f"There is no stored item with the id '{item_id}'.", param=f"{place}.id")


def opened(
    items: Sequence[Item | None], place: str, open_reasoning: Callable[[str], str | None]
) -> tuple[list[Item | None], list[str]]:
    """Returns items with the reasoning that came encrypted, and the places of what nobody here can read.

    Args:
        items: of a request.
        place: the field that has them.
        open_reasoning: returns the text; None if it cannot be read here.
    """
    found, unread = list(items), []
    for index, item in enumerate(items):
        if isinstance(item, ReasoningItem) and item.encrypted_content and not item.content:
            if (text := open_reasoning(item.encrypted_content)) is None:
                unread.append(f"{place}[{index}].encrypted_content")
            else:
                found[index] = item.with_text(text)
    return found, unread


def messages(instructions: str | None, items: Input, tools: Toolbox) -> list[dict[str, Any]]:
    """Returns the input as chat templates read it.

    Reasoning, text and calls of one turn are one assistant message. What the application says, by `instructions` or in
    any item, is one system message at the start: many templates take no other.
    """
    system = [instructions] if instructions else []
    turns: list[dict[str, Any]] = []
    for item in [MessageItem(role="user", content=items)] if isinstance(items, str) else items:
        if isinstance(item, MessageItem) and item.role in ("system", "developer"):
            system.append(text_of(item.content))
        elif item:
            _add(turns, item, tools)
    leading = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    return [*leading, *map(_with_content, turns)]


def _add(turns: list[dict[str, Any]], item: Item, tools: Toolbox) -> None:
    match item:
        case MessageItem(role="assistant"):
            turn = _assistant(turns, after=("reasoning_content",))
            turn["content"] = text_of(item.content)
        case MessageItem():
            turns.append({"role": item.role, "content": text_of(item.content)})
        case ReasoningItem():
            turn = _assistant(turns, after=())
            turn["reasoning_content"] = item.text
        case FunctionCallItem() | CustomCallItem():
            turn = _assistant(turns, after=("reasoning_content", "content", "tool_calls"))
            function = {"name": tools.function(item.namespace, item.name), "arguments": item.arguments}
            turn.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})
        case CallOutputItem():
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
