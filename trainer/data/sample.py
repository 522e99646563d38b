"""The inner form of data: a conversation, a preference pair or a text, whatever file it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["conversations", "judged answers", "preference pairs", "texts"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        role: Who speaks.
        content: What is said; empty where an assistant only calls tools.
        learnt: Whether the model learns to say this. Only turns of the assistant are.
        name: Of the speaker. Chat templates show it or not.
        reasoning: What the assistant thought before it answered.
        tool_calls: In OpenAI's form, but with `arguments` as an object: that is what chat templates want.
        tool_call_id: The call that a tool answers.
    """

    role: Role
    content: str
    learnt: bool = False
    name: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None

    def document(self) -> dict[str, Any]:
        """What a chat template is given."""
        optional = {
            "name": self.name,
            "reasoning_content": self.reasoning,
            "tool_calls": list(self.tool_calls) or None,
            "tool_call_id": self.tool_call_id,
        }
        given = {key: value for key, value in optional.items() if value is not None}
        return {"role": self.role, "content": self.content, **given}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that end with one of the assistant. `place` is the file and line that it came from.

    tools: In OpenAI's form, as the chat template is given them.
    good: Of a judged answer: whether people like it. None: nobody has judged, and what is there is to be learnt.
    """

    place: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    good: bool | None = None

    @property
    def turns(self) -> tuple[int, ...]:
        """Places of the turns that are learnt, each after all that came before it."""
        return tuple(place for place, message in enumerate(self.messages) if message.learnt)


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two ways to go on after a prompt: the one that people prefer, and the other."""

    place: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text without turns. All of it is learnt."""

    place: str
    text: str


Sample = Conversation | PreferencePair | Text


def kind_of(sample: Sample) -> Kind:
    """What a sample is called."""
    if isinstance(sample, Conversation):
        return "conversations" if sample.good is None else "judged answers"
    return "texts" if isinstance(sample, Text) else "preference pairs"


def documents(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as a chat template is given them."""
    return [message.document() for message in messages]
