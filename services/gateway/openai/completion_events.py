"""Server-sent events of a streamed answer.

Almost every event differs from the one before only in a few characters of text, so all the rest of it is built once
for the stream and the text is put between. Events that carry more (tool calls, log probabilities, a finish reason)
are built whole.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai import logprobs
from services.gateway.openai.completion_fields import FINISH_REASONS, header_fields, usage
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2

DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


def comment(text: str) -> bytes:
    """What clients skip, and what keeps a connection from looking dead."""
    return f": {text}\n\n".encode()


class _Events:
    """Events of one kind for one answer; `usage` is null in all of them but the last, when it was asked for."""

    def __init__(self, head: GenerationHeader, kind: str, include_usage: bool) -> None:
        self._fields = header_fields(head, kind)
        self._include_usage = include_usage
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def of_choice(self, choice: dict[str, Any]) -> bytes:
        return event({**self._fields, "choices": [choice], **self._usage})

    def around_text(self, choice: dict[str, Any]) -> tuple[bytes, bytes]:
        """The event's bytes before and after the JSON string that stands in the place of the text "@"."""
        before, _, after = self.of_choice(choice).rpartition(b'"@"')
        return before, after

    def last(self, used: worker_pb2.Usage) -> bytes:
        if not self._include_usage:
            return DONE
        return event({**self._fields, "choices": [], "usage": usage(used)}) + DONE


class ChatStream:
    def __init__(self, head: GenerationHeader, choices: int, include_usage: bool) -> None:
        self._events = _Events(head, "chat.completion.chunk", include_usage)
        self._choices = choices
        self._text = [self._events.around_text(_chat_choice(n, {"content": "@"})) for n in range(choices)]

    def open(self) -> list[bytes]:
        first = {"role": "assistant", "content": ""}
        return [self._events.of_choice(_chat_choice(n, first)) for n in range(self._choices)]

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        return b"".join([self._frame(delta) for delta in deltas])

    def close(self, used: worker_pb2.Usage) -> bytes:
        return self._events.last(used)

    def fail(self, error: TidegateError) -> bytes:
        """The error instead of [DONE]."""
        return event(error.body())

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        if delta.finish_reason or delta.tool_calls or delta.reasoning or delta.logprobs:
            return self._whole(delta)
        if not delta.text:
            return b""
        before, after = self._text[delta.choice]
        return before + orjson.dumps(delta.text) + after

    def _whole(self, delta: worker_pb2.Delta) -> bytes:
        choice = _chat_choice(delta.choice, chat_delta(delta))
        choice["logprobs"] = logprobs.chat(delta.logprobs)
        choice["finish_reason"] = FINISH_REASONS[delta.finish_reason]
        return self._events.of_choice(choice)


def _chat_choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def chat_delta(delta: worker_pb2.Delta) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if delta.text:
        shown["content"] = delta.text
    if delta.reasoning:
        shown["reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        shown["tool_calls"] = [_tool_call(call) for call in delta.tool_calls]
    return shown


def _tool_call(call: worker_pb2.ToolCallDelta) -> dict[str, Any]:
    """Id, type and name come with a call's first delta only."""
    function = {"arguments": call.arguments}
    if not call.id:
        return {"index": call.index, "function": function}
    return {"index": call.index, "id": call.id, "type": "function", "function": {"name": call.name, **function}}


class CompletionStream:
    def __init__(self, head: GenerationHeader, choices: int, include_usage: bool) -> None:
        self._events = _Events(head, "text_completion", include_usage)
        self._text = [self._events.around_text(_text_choice(n, "@")) for n in range(choices)]
        self._logprobs = [logprobs.CompletionLogprobs() for _ in range(choices)]

    def open(self) -> list[bytes]:
        return []

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        return b"".join([self._frame(delta) for delta in deltas])

    def close(self, used: worker_pb2.Usage) -> bytes:
        return self._events.last(used)

    def fail(self, error: TidegateError) -> bytes:
        """The error instead of [DONE]."""
        return event(error.body())

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        if delta.finish_reason or delta.logprobs:
            choice = _text_choice(delta.choice, delta.text)
            choice["logprobs"] = self._logprobs[delta.choice].take(delta.logprobs)
            choice["finish_reason"] = FINISH_REASONS[delta.finish_reason]
            return self._events.of_choice(choice)
        if not delta.text:
            return b""
        before, after = self._text[delta.choice]
        return before + orjson.dumps(delta.text) + after


def _text_choice(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}
