"""Alpaca's form: {"instruction": ..., "input": ..., "output": ...}, `system` and `history`."""

from collections.abc import Mapping
from typing import Any

from trainer.data.forms.fields import from_text, optional_text, text, turn_text
from trainer.data.forms.messages import conversation
from trainer.data.report import Notes
from trainer.data.sample import Conversation, Message
from trainer.data.wrong import WrongRecord

FIELDS = {"instruction", "input", "output", "system", "history"}


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Conversation:
    """The user says the instruction and, below an empty line, the input. Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    asked, output = turn_text(fields, "instruction"), turn_text(fields, "output")
    if given := optional_text(fields, "input"):
        asked = f"{asked}\n\n{given}"
    system = optional_text(fields, "system")
    turns = [*_history(fields), Message("user", asked), Message("assistant", output, learnt=True)]
    return conversation(place, [Message("system", system), *turns] if system else turns)


def _history(fields: Mapping[str, Any]) -> list[Message]:
    found: list[Message] = []
    for place, pair in enumerate(from_text(fields.get("history") or [], "history")):
        if not (isinstance(pair, list) and len(pair) == 2):
            raise WrongRecord(f"history.{place} must be a list of a question and its answer")
        question, answer = (text(part, f"history.{place}") for part in pair)
        found += [Message("user", question), Message("assistant", answer, learnt=True)]
    return found
