"""{"prompt": ..., "completion": ...}: two texts, or two lists of messages as TRL has them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainer.data.forms import chat
from trainer.data.forms.fields import turn_text
from trainer.data.forms.messages import conversation
from trainer.data.report import Notes
from trainer.data.sample import Conversation, Message
from trainer.data.wrong import WrongRecord

FIELDS = {"prompt", "completion", "tools", "functions"}


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Conversation:
    """Texts become a turn of the user and one of the assistant. Only the completion is learnt.

    Raises WrongRecord, Dropped.
    """
    notes.rest(fields, FIELDS)
    prompt, completion = fields.get("prompt"), fields.get("completion")
    if isinstance(prompt, list) != isinstance(completion, list):
        raise WrongRecord("prompt and completion must both be text, or both lists of messages")
    if not isinstance(prompt, list):
        asked, answer = turn_text(fields, "prompt"), turn_text(fields, "completion")
        return conversation(place, [Message("user", asked), Message("assistant", answer, learnt=True)])
    turns = [*unlearnt(chat.messages(prompt, "prompt", notes)), *chat.messages(completion, "completion", notes)]
    return conversation(place, turns, chat.tools(fields, notes))


def unlearnt(found: list[Message]) -> list[Message]:
    """Messages that only lead to what is learnt."""
    return [replace(message, learnt=False) for message in found]
