"""What is asked, and what came back; through the gateway and from vLLM alone."""

from dataclasses import dataclass
from random import Random

TOKENS = 24
RUNNING = 8
CACHE_GIB = 0.1
_WORDS = ("tide", "moon", "harbour", "lantern", "Ebbe", "été", "潮", "🌊", "blue", "7", "?", "the")
_LENGTH = 12
"""Words of the longest question. It is longer than the sliding windows of the models, in bytes."""


@dataclass(frozen=True, slots=True)
class Question:
    """text: of one user message where `chat` is set, else the prompt of a completion."""

    text: str
    chat: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer of TOKENS tokens."""

    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str


def questions(count: int, seed: int, *, chats: bool) -> list[Question]:
    """Different questions; every second one is a chat if the model has a chat template."""
    random = Random(seed)
    texts = [f"{number} {' '.join(random.choices(_WORDS, k=random.randint(1, _LENGTH)))}" for number in range(count)]
    return [Question(text, chat=chats and number % 2 == 1) for number, text in enumerate(texts)]


def difference(expected: Answer, given: Answer) -> str | None:
    """Returns the first thing in which an answer differs; None if they are equal."""
    for what in ("prompt_token_ids", "token_ids", "text"):
        wanted, found = getattr(expected, what), getattr(given, what)
        if wanted != found:
            return f"{what}: {found!r} and not {wanted!r}"
    return None
