"""The data of a run: chats, one JSON object a line, checked line by line, split into those to learn and to measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BYTES = 1 << 30
MAX_ERRORS = 10
ENOUGH = 2
"""Chats: one to learn from and one to measure with."""


class WrongData(Exception):
    """The message names the first MAX_ERRORS wrong lines and what is wrong with each."""


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Chat(BaseModel):
    """A conversation that ends with an answer of the assistant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...] = Field(min_length=2)

    @property
    def turns(self) -> tuple[int, ...]:
        """Places of the assistant's messages: each is something to learn, after all that came before it."""
        return tuple(place for place, message in enumerate(self.messages) if message.role == "assistant")


@dataclass(frozen=True, slots=True)
class Split:
    """Chats to learn from, and chats that only measure."""

    training: tuple[Chat, ...]
    held_out: tuple[Chat, ...]


def load(file: Path) -> tuple[Chat, ...]:
    """Raises WrongData."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise WrongData(f"{file.name} is larger than {MAX_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise WrongData(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise WrongData(f"{file.name} is not UTF-8 at byte {error.start}") from None
    return parse(text, file.name)


def parse(text: str, name: str) -> tuple[Chat, ...]:
    """Empty lines are skipped. Raises WrongData; `name` is what the file is called there."""
    chats: list[Chat] = []
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            chats.append(_chat(line))
        except ValueError as error:
            wrong.append(f"{name}:{number}: {error}")
        if len(wrong) == MAX_ERRORS:
            break
    if wrong:
        raise WrongData("\n".join(wrong))
    if len(chats) < ENOUGH:
        raise WrongData(f"{name} holds {len(chats)} chats; {ENOUGH} are needed, one to learn and one to measure with")
    return tuple(chats)


def split(chats: Sequence[Chat], held_out: float, random: Random) -> Split:
    """`held_out` is a share; at least one chat goes to each side."""
    order = list(chats)
    random.shuffle(order)
    count = min(max(1, round(len(order) * held_out)), len(order) - 1)
    return Split(training=tuple(order[count:]), held_out=tuple(order[:count]))


def _chat(line: str) -> Chat:
    try:
        chat = Chat.model_validate_json(line)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(problem["loc"], problem["msg"]) for problem in error.errors())) from None
    if chat.messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's")
    if any(message.role == "system" for message in chat.messages[1:]):
        raise ValueError("a system message may only be the first")
    if chat.messages[0].role == "assistant":
        raise ValueError("the assistant cannot speak first")
    return chat


def _explain(place: tuple[int | str, ...], message: str) -> str:
    path = ".".join(str(part) for part in place)
    return f"{path}: {message}" if path else message
