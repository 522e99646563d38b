"""OpenAI's form: {"messages": [{"role": ..., "content": ...}], "tools": [...]}."""

from collections.abc import Mapping
from typing import Any

from trainer.data.forms import chat
from trainer.data.forms.fields import from_text
from trainer.data.report import Notes
from trainer.data.sample import Conversation, Message
from trainer.data.wrong import Dropped

FIELDS = {"messages", "tools", "functions"}
NOTHING_LEARNT = "no turn is learnt: each has weight 0"


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Conversation:
    """Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    found = chat.messages(from_text(fields.get("messages"), "messages"), "messages", notes)
    return conversation(place, found, chat.tools(fields, notes))


def conversation(place: str, found: list[Message], tools: tuple[dict[str, Any], ...] = ()) -> Conversation:
    """Checks the order of the turns. Raises WrongRecord, and Dropped when nothing is learnt."""
    chat.check_order(found, "messages")
    if not any(message.learnt for message in found):
        raise Dropped(NOTHING_LEARNT)
    return Conversation(place, tuple(found), tools)
