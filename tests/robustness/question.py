"""What is asked: one request of OpenAI's API, equal to itself wherever it is asked again."""

from dataclasses import dataclass
from typing import Any

import orjson

from loadtests.target import CHAT

MODEL = "tide"


@dataclass(frozen=True, slots=True)
class Question:
    """path: of the API; body: its JSON."""

    path: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.body)
        return document

    def __str__(self) -> str:
        return self.body.decode()


def chat(text: str, **parameters: Any) -> Question:
    messages = [{"role": "user", "content": text}]
    return Question(CHAT, orjson.dumps({"model": MODEL, "messages": messages, **parameters}))
