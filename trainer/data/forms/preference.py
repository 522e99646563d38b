"""Preference pairs: TRL's explicit and implicit forms, as texts or messages, and the texts of HH-RLHF."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from trainer.data.forms import chat
from trainer.data.forms.completion import unlearnt
from trainer.data.forms.fields import kind, text, turn_text
from trainer.data.report import Notes
from trainer.data.sample import Message, PreferencePair
from trainer.data.wrong import Dropped, WrongRecord

FIELDS = {"prompt", "chosen", "rejected", "tools", "functions"}
SAME = "chosen and rejected are the same"
OTHER_QUESTIONS = "chosen and rejected differ in a question"
_HH_TURN = re.compile(r"\n\n(Human|Assistant):[ \t]?")


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> PreferencePair:
    """Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    prompt, chosen, rejected = _sides(fields, notes)
    if chosen == rejected:
        raise Dropped(SAME)
    if any(side and side[0].role != "assistant" for side in (chosen, rejected)):
        raise Dropped(OTHER_QUESTIONS)
    chat.check_order([*prompt, *chosen], "chosen")
    chat.check_order([*prompt, *rejected], "rejected")
    return PreferencePair(place, tuple(prompt), tuple(chosen), tuple(rejected), chat.tools(fields, notes))


def _sides(fields: Mapping[str, Any], notes: Notes) -> tuple[list[Message], list[Message], list[Message]]:
    values = fields.get("chosen"), fields.get("rejected")
    if all(isinstance(value, list) for value in values):
        return _of_messages(fields, notes)
    if any(isinstance(value, list) for value in values):
        raise WrongRecord("chosen and rejected must both be text, or both lists of messages")
    chosen, rejected = turn_text(fields, "chosen"), turn_text(fields, "rejected")
    if fields.get("prompt") is None:
        return _of_texts(chosen, rejected, notes)
    if not isinstance(fields["prompt"], str):
        raise WrongRecord(f"chosen and rejected are text, so prompt must be text, and is {kind(fields['prompt'])}")
    return _turns(turn_text(fields, "prompt"), chosen, rejected)


def _of_messages(fields: Mapping[str, Any], notes: Notes) -> tuple[list[Message], list[Message], list[Message]]:
    chosen, rejected = (chat.messages(fields[name], name, notes) for name in ("chosen", "rejected"))
    prompt = fields.get("prompt")
    if chosen and chosen[0].role != "assistant":  # whole conversations; a prompt beside them says their beginning again
        return _without_beginning(chosen, rejected)
    if prompt is None:
        raise WrongRecord("prompt is missing: chosen and rejected begin with an answer")
    if isinstance(prompt, list):
        return unlearnt(chat.messages(prompt, "prompt", notes)), chosen, rejected
    return [Message("user", text(prompt, "prompt"))], chosen, rejected


def _of_texts(chosen: str, rejected: str, notes: Notes) -> tuple[list[Message], list[Message], list[Message]]:
    if _HH_TURN.match(chosen) and _HH_TURN.match(rejected):
        notes.converted("Human and Assistant became turns")
        return _without_beginning(_hh_turns(chosen, "chosen"), _hh_turns(rejected, "rejected"))
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    shared = "".join(character for character, _ in pairs)
    shared = shared[: shared.rfind(" ") + 1]
    if not shared.strip():
        raise WrongRecord("prompt is missing, and chosen and rejected do not begin with the same words")
    notes.converted("the beginning that both texts share became the prompt")
    return _turns(shared.rstrip(), chosen[len(shared) :], rejected[len(shared) :])


def _turns(prompt: str, chosen: str, rejected: str) -> tuple[list[Message], list[Message], list[Message]]:
    answers = ([Message("assistant", said, learnt=True)] for said in (chosen, rejected))
    return [Message("user", prompt)], next(answers), next(answers)


def _without_beginning(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    pairs = zip(chosen, rejected, strict=False)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    if shared == 0:
        raise WrongRecord("chosen and rejected do not begin with the same turn")
    # One side may be the beginning of the other: the last answer of the shorter is still what is compared.
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    return unlearnt(chosen[:shared]), chosen[shared:], rejected[shared:]


def _hh_turns(said: str, path: str) -> list[Message]:
    parts = _HH_TURN.split(said)[1:]
    found = [Message("user" if role == "Human" else "assistant", content.strip()) for role, content in _paired(parts)]
    if any(not message.content for message in found):
        raise Dropped("a turn is empty or null")
    if not found or found[-1].role != "assistant":
        raise WrongRecord(f"{path} must end with what the Assistant says")
    return [replace(message, learnt=message.role == "assistant") for message in found]


def _paired(parts: list[str]) -> Iterator[tuple[str, str]]:
    return zip(parts[::2], parts[1::2], strict=True)
