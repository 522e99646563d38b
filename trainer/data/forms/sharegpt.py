"""ShareGPT's form: {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}]}, `system` and `tools`."""

from collections.abc import Mapping
from typing import Any

from trainer.data.forms import chat
from trainer.data.forms.fields import from_text, objects, optional_text, text
from trainer.data.forms.messages import conversation
from trainer.data.report import Notes
from trainer.data.sample import Conversation, Message
from trainer.data.wrong import Dropped, WrongRecord

FIELDS = {"conversations", "system", "tools", "functions"}
_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "function_call",
}
NO_ANSWER = "no answer follows a question"


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Conversation:
    """Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    turns = [_openai(item, f"conversations.{at}.") for at, item in enumerate(_turns(fields))]
    found = chat.messages(turns, "conversations", notes)
    if (system := optional_text(fields, "system")) and not (found and found[0].role == "system"):
        found.insert(0, Message("system", system))
    return conversation(place, _trimmed(found, notes), chat.tools(fields, notes))


def _turns(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return objects(from_text(fields.get("conversations"), "conversations"), "conversations")


def _openai(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    if "role" in item and "from" not in item:
        return dict(item)
    name = text(item.get("from"), f"{path}from")
    if not (role := _ROLES.get(name.lower())):
        raise WrongRecord(f"{path}from must be one of {', '.join(_ROLES)}, and is {name[:40]!r}")
    rest = {key: value for key, value in item.items() if key not in ("from", "value")}
    if role != "function_call":
        return {**rest, "role": role, "content": item.get("value")}
    call = from_text(item.get("value"), f"{path}value")
    calls = call if isinstance(call, list) else [call]
    return {**rest, "role": "assistant", "content": None, "tool_calls": [{"function": one} for one in calls]}


def _trimmed(found: list[Message], notes: Notes) -> list[Message]:
    """Such chats were cut out of longer ones: many begin with an answer, or end with a question."""
    system = found[:1] if found and found[0].role == "system" else []
    rest = found[len(system) :]
    asked = next((at for at, message in enumerate(rest) if message.role == "user"), len(rest))
    answered = next((at for at in range(len(rest), 0, -1) if rest[at - 1].role == "assistant"), 0)
    if answered <= asked:
        raise Dropped(NO_ANSWER)
    if asked > 0:
        notes.converted("turns before the first question are left out")
    if answered < len(rest):
        notes.converted("turns after the last answer are left out")
    return [*system, *rest[asked:answered]]
