"""A response, whole or streamed, in one form; and how it differs from the expected one."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

from loadtests.sse import EventStream

SHOWN_BYTES = 200


@dataclass(slots=True)
class Response:
    """text, logprobs, finish_reasons: by index of the choice. usage: as the API has it."""

    id: str = ""
    text: defaultdict[int, str] = field(default_factory=lambda: defaultdict(str))
    logprobs: defaultdict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    finish_reasons: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)

    def take(self, document: dict[str, Any]) -> None:
        """Adds one event of a stream, or the whole response."""
        self.id = document["id"]
        self.usage = document.get("usage") or self.usage
        for choice in document["choices"]:
            index = choice["index"]
            message = choice.get("delta") or choice.get("message") or {}
            self.text[index] += choice.get("text") or message.get("content") or ""
            self.logprobs[index] += (choice.get("logprobs") or {}).get("content") or ()
            if choice.get("finish_reason"):
                assert index not in self.finish_reasons
                self.finish_reasons[index] = choice["finish_reason"]

    @property
    def completion_tokens(self) -> int:
        return int(self.usage.get("completion_tokens", 0))


def mismatch(response: Response, expected: Response) -> str | None:
    """Returns what differs, in words; None where every token is the expected one."""
    for choice, text in expected.text.items():
        if response.text[choice] != text:
            return f"choice {choice} reads {response.text[choice]!r}, not {text!r}"
    if response.finish_reasons != expected.finish_reasons:
        return f"it ended with {response.finish_reasons}, not {expected.finish_reasons}"
    for count in ("prompt_tokens", "completion_tokens"):
        if response.usage[count] != expected.usage[count]:
            return f"{count} are {response.usage[count]}, not {expected.usage[count]}"
    if response.logprobs != expected.logprobs:
        return "the log probabilities differ"
    return None


class ResponseReader:
    """Reads the bytes of one body. `complete`: nothing is missing. `error`: the server's error message, or empty."""

    def __init__(self) -> None:
        self.response = Response()
        self.complete = False
        self.error = ""
        self._events, self._document = EventStream(), bytearray()

    def event(self, data: bytes) -> None:
        """Takes some bytes of an event stream."""
        for event in self._events.feed(data):
            if event == b"[DONE]":
                self.complete = True
            else:
                self._take(orjson.loads(event))

    def part(self, data: bytes) -> None:
        """Takes some bytes of a JSON body."""
        self._document += data

    def end(self) -> None:
        """Takes the end of the body."""
        if not self._document:
            return
        try:
            self._take(orjson.loads(self._document))
        except orjson.JSONDecodeError:
            self.error = bytes(self._document[:SHOWN_BYTES]).decode(errors="replace")
        self.complete = not self.error

    def _take(self, document: dict[str, Any]) -> None:
        if "error" in document:
            self.error = document["error"]["message"]
        else:
            self.response.take(document)
