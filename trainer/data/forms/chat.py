"""Messages as OpenAI writes them: what several forms are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data.forms.fields import EMPTY_TURN, from_text, kind, objects, optional_text, text
from trainer.data.report import Notes
from trainer.data.sample import Message, Role
from trainer.data.wrong import Dropped, WrongRecord

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_KNOWN = {"role", "content", "weight", "name", "reasoning_content", "tool_calls", "tool_call_id"}


def messages(value: Any, path: str, notes: Notes) -> list[Message]:
    """Every turn of the assistant is learnt, but for those with weight 0. An empty system message is left out.

    Raises:
        WrongRecord: A message is not as it should be.
        Dropped: A message says nothing.
    """
    found = []
    for place, item in enumerate(objects(value, path)):
        message = _message(item, f"{path}.{place}.", notes)
        if message.role == "system" and not message.content:
            notes.converted("an empty system message is left out")
        else:
            found.append(message)
    _check_tool_results(found, path)
    return found


def tools(fields: Mapping[str, Any], notes: Notes) -> tuple[dict[str, Any], ...]:
    """The tools that the assistant may call. Raises WrongRecord."""
    if fields.get("functions") is not None:
        raise WrongRecord("functions is the old form: write tools, and tool_calls in messages")
    value = from_text(fields.get("tools") or [], "tools")
    return tuple(_tool(tool, f"tools.{place}", notes) for place, tool in enumerate(objects(value, "tools")))


def check_order(found: Sequence[Message], path: str) -> None:
    """Raises WrongRecord: The turns do not make a conversation that ends with an answer."""
    if len(found) < 2:
        raise WrongRecord(f"{path} must hold a question and an answer, and holds {len(found)} messages")
    if any(message.role == "system" for message in found[1:]):
        raise WrongRecord(f"{path}: a system message may only be the first")
    first = found[1] if found[0].role == "system" else found[0]
    if first.role == "assistant":
        raise WrongRecord(f"{path}: the assistant cannot speak first: begin with what it answers")
    if found[-1].role != "assistant":
        raise WrongRecord(f"{path}: the last message must be the assistant's, and is of {found[-1].role}")


def _message(item: Mapping[str, Any], path: str, notes: Notes) -> Message:
    role = _role(item.get("role"), path, notes)
    if item.get("function_call") is not None:
        raise WrongRecord(f"{path}function_call is the old form: write tool_calls")
    notes.rest(item, _KNOWN if role == "assistant" else _KNOWN - {"weight", "reasoning_content"}, "messages.")
    calls = _tool_calls(item, path) if role == "assistant" else ()
    content = _content(item.get("content"), f"{path}content", notes)
    if not content.strip() and not calls and role in ("user", "assistant"):
        raise Dropped(EMPTY_TURN)
    return Message(
        role=role,
        content=content,
        learnt=role == "assistant" and _weight(item.get("weight"), path),
        name=optional_text(item, "name", path),
        reasoning=optional_text(item, "reasoning_content", path) if role == "assistant" else None,
        tool_calls=calls,
        tool_call_id=optional_text(item, "tool_call_id", path),
    )


def _role(value: Any, path: str, notes: Notes) -> Role:
    name = text(value, f"{path}role")
    if name == "function":
        raise WrongRecord(f"{path}role: function is the old form: write tool")
    if not (role := _ROLES.get(name)):
        raise WrongRecord(f"{path}role must be one of {', '.join(_ROLES)}, and is {name[:40]!r}")
    if role != name:
        notes.converted("developer became system")
    return role


def _content(value: Any, path: str, notes: Notes) -> str:
    if value is None:
        return ""
    if not isinstance(value, list):
        return text(value, path)
    notes.converted("content parts were joined")
    return "".join(_part(part, f"{path}.{place}") for place, part in enumerate(objects(value, path)))


def _part(part: Mapping[str, Any], path: str) -> str:
    if part.get("type") != "text":
        raise WrongRecord(f"{path} is of type {part.get('type')!r}: only parts of type text can be learnt")
    return text(part.get("text"), f"{path}.text")


def _weight(value: Any, path: str) -> bool:
    if value is not None and (isinstance(value, bool) or value not in (0, 1)):
        raise WrongRecord(f"{path}weight must be 0 (not learnt) or 1 (learnt), and is {value!r:.40}")
    return value is None or value == 1


def _tool_calls(item: Mapping[str, Any], path: str) -> tuple[dict[str, Any], ...]:
    calls = objects(item.get("tool_calls") or [], f"{path}tool_calls")
    return tuple(_tool_call(call, f"{path}tool_calls.{place}") for place, call in enumerate(calls))


def _tool_call(call: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`arguments` as an object: a template writes it as JSON, and would write a text as JSON once more."""
    function = call.get("function")
    if not isinstance(function, dict):
        raise WrongRecord(f"{path}.function must be an object, and is {kind(function)}")
    name = text(function.get("name"), f"{path}.function.name")
    arguments = from_text(function.get("arguments") or {}, f"{path}.function.arguments")
    if not isinstance(arguments, dict):
        raise WrongRecord(f"{path}.function.arguments must be an object, and is {kind(arguments)}")
    id_ = optional_text(call, "id", f"{path}.")
    return {
        **({"id": id_} if id_ else {}),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _tool(tool: Mapping[str, Any], path: str, notes: Notes) -> dict[str, Any]:
    function = tool.get("function", tool if "name" in tool else None)
    if not isinstance(function, dict):
        raise WrongRecord(f"{path}.function must be an object, and is {kind(function)}")
    if function is tool:
        notes.converted("a tool without type became a function")
    text(function.get("name"), f"{path}.function.name")
    return {"type": "function", "function": dict(function)}


def _check_tool_results(found: Sequence[Message], path: str) -> None:
    """A result follows the calls that it answers."""
    ids: set[str] | None = None
    for place, message in enumerate(found):
        if message.role != "tool":
            ids = {call.get("id", "") for call in message.tool_calls} if message.tool_calls else None
        elif ids is None:
            raise WrongRecord(f"{path}.{place}: a tool answers, but the assistant's message before has no tool_calls")
        elif message.tool_call_id and message.tool_call_id not in ids:
            raise WrongRecord(
                f"{path}.{place}.tool_call_id = {message.tool_call_id[:40]!r}: the calls before it have other ids"
            )
