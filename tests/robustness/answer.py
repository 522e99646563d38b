"""What an answer came to, in one piece or as a stream, and how it differs from the right one."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.sse import EventStream

SHOWN_BYTES = 200


@dataclass(slots=True)
class Answer:
    id: str = ""
    text: defaultdict[int, str] = field(default_factory=lambda: defaultdict(str))
    logprobs: defaultdict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    endings: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)

    def take(self, document: dict[str, Any]) -> None:
        """One event of a stream, or the whole answer."""
        self.id = document["id"]
        self.usage = document.get("usage") or self.usage
        for choice in document["choices"]:
            index = choice["index"]
            said = choice.get("delta") or choice.get("message") or {}
            self.text[index] += choice.get("text") or said.get("content") or ""
            self.logprobs[index] += (choice.get("logprobs") or {}).get("content") or ()
            if choice.get("finish_reason"):
                assert index not in self.endings
                self.endings[index] = choice["finish_reason"]

    @property
    def completion_tokens(self) -> int:
        return int(self.usage.get("completion_tokens", 0))


def difference(answer: Answer, right: Answer) -> str | None:
    """None where not a token is lost, repeated or another one."""
    for choice, text in right.text.items():
        if answer.text[choice] != text:
            return f"choice {choice} reads {answer.text[choice]!r}, not {text!r}"
    if answer.endings != right.endings:
        return f"it ended with {answer.endings}, not {right.endings}"
    for what in ("prompt_tokens", "completion_tokens"):
        if answer.usage[what] != right.usage[what]:
            return f"{what} are {answer.usage[what]}, not {right.usage[what]}"
    if answer.logprobs != right.logprobs:
        return "the log probabilities differ"
    return None


class Reader:
    """Bytes of one body into its answer. `whole` once nothing is missing; `error` is what the server says is wrong."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.whole = False
        self.error = ""
        self._events, self._document = EventStream(), bytearray()

    def event(self, data: bytes) -> None:
        """Some bytes of a stream."""
        for event in self._events.feed(data):
            if event == b"[DONE]":
                self.whole = True
            else:
                self._take(orjson.loads(event))

    def part(self, data: bytes) -> None:
        """Some bytes of an answer in one piece."""
        self._document += data

    def end(self) -> None:
        if not self._document:
            return
        try:
            self._take(orjson.loads(self._document))
        except orjson.JSONDecodeError:
            self.error = bytes(self._document[:SHOWN_BYTES]).decode(errors="replace")
        self.whole = not self.error

    def _take(self, document: dict[str, Any]) -> None:
        if "error" in document:
            self.error = document["error"]["message"]
        else:
            self.answer.take(document)
