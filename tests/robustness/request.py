"""A request of OpenAI's API. Two requests with the same path and body are equal, so their responses can be compared."""

from dataclasses import dataclass
from typing import Any

import orjson

from loadtests.target import CHAT

MODEL = "tide"


@dataclass(frozen=True, slots=True)
class Request:
    """path: below `/v1`. body: JSON."""

    path: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.body)
        return document

    def __str__(self) -> str:
        return self.body.decode()


def chat(text: str, **parameters: Any) -> Request:
    """A chat completion with one user message."""
    messages = [{"role": "user", "content": text}]
    return Request(CHAT, orjson.dumps({"model": MODEL, "messages": messages, **parameters}))
