"""Server-sent events of streamed chat completions and completions.

Almost every event differs from the one before only in a few characters of text. So everything else is built once for
the stream, and each event puts its text in between. Events with more than text (tool calls, log probabilities, a finish
reason) are built whole.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson

from services.gateway.domain.generation import PLAIN, Shown
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.progress import VersionSpan
from services.gateway.openai import logprobs
from services.gateway.openai.completion_fields import FINISH_REASONS, header_fields, stop_reason, usage
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2

DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    """Returns an event without an id. document: becomes its JSON."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def comment(text: str) -> bytes:
    """Returns a comment, which clients skip and which keeps the connection alive."""
    return f": {text}\n\n".encode()


class _Events:
    """Builds the events of one kind for one generation.

    If the client asked for usage, only the last event has it, unless each event is to have the counts so far.
    """

    def __init__(self, header: GenerationHeader, kind: str, include_usage: bool, shown: Shown) -> None:
        self._header, self._kind = header, kind
        self._fields = header_fields(header, kind)
        self._include_usage, self._continuous = include_usage, shown.continuous_usage
        self._counts = worker_pb2.Usage(prompt_tokens=header.prompt_tokens, cached_tokens=header.cached_tokens)
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        self.count(0)

    def go_on_with(self, version: str) -> None:
        """Later events name this version."""
        self._header = replace(self._header, version=version)
        self._fields = header_fields(self._header, self._kind)

    def count(self, tokens: int) -> None:
        """Counts new tokens of the answer, if each event is to have the counts."""
        if self._continuous:
            self._counts.completion_tokens += tokens
            self._usage = {"usage": usage(self._counts)}

    def of_choice(self, choice: dict[str, Any], **more: Any) -> bytes:
        return event({**self._fields, "choices": [choice], **self._usage, **more})

    def around_text(self, choice: dict[str, Any]) -> tuple[bytes, bytes]:
        """Returns the bytes of an event before and after its text. `choice` has the text "@" where the text belongs."""
        before, _, after = self.of_choice(choice).rpartition(b'"@"')
        return before, after

    def last(self, used: worker_pb2.Usage) -> bytes:
        if not self._include_usage:
            return DONE
        return event({**self._fields, "choices": [], "usage": usage(used)}) + DONE


class ChatStream:
    """Encodes a chat completion."""

    def __init__(self, header: GenerationHeader, choices: int, include_usage: bool, *, shown: Shown = PLAIN) -> None:
        self._events = _Events(header, "chat.completion.chunk", include_usage, shown)
        self._shown, self._prompt = shown, header.prompt
        self._choices = choices
        self._text = self._around_text()

    def _around_text(self) -> list[tuple[bytes, bytes]]:
        return [self._events.around_text(_chat_choice(n, {"content": "@"})) for n in range(self._choices)]

    def open(self) -> list[bytes]:
        """Returns an event for each choice, which tells its role."""
        first = {"role": "assistant", "content": ""}
        events = [self._events.of_choice(_chat_choice(n, first)) for n in range(self._choices)]
        if self._shown.token_ids:
            prompt = list(self._prompt.prompt_token_ids)
            events[0] = self._events.of_choice(_chat_choice(0, first), prompt_token_ids=prompt)
        return events

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined."""
        frame = self._frame if self._shown is PLAIN else self._with_more_than_text
        return b"".join([frame(delta) for delta in deltas])

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """Later events have the fingerprint of another version."""
        self._events.go_on_with(version)
        self._text = self._around_text()

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the usage event, if the client asked for it, and [DONE]."""
        return self._events.last(used)

    def fail(self, error: TidegateError) -> bytes:
        """Returns an error event, which takes the place of [DONE]."""
        return event(error.body())

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        if delta.finish_reason or delta.tool_calls or delta.reasoning or delta.logprobs:
            return self._with_more_than_text(delta)
        if not delta.text:
            return b""
        before, after = self._text[delta.choice]
        return before + orjson.dumps(delta.text) + after

    def _with_more_than_text(self, delta: worker_pb2.Delta) -> bytes:
        choice = _chat_choice(delta.choice, chat_delta(delta))
        choice["logprobs"] = logprobs.chat(delta.logprobs)
        _end_choice(choice, delta)
        self._events.count(len(delta.token_ids))
        if self._shown.token_ids:
            choice["token_ids"] = list(delta.token_ids)
        elif not (choice["delta"] or choice["logprobs"] or delta.finish_reason):
            return b""
        return self._events.of_choice(choice)


def _chat_choice(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _end_choice(choice: dict[str, Any], delta: worker_pb2.Delta) -> None:
    """Says how a choice ends, if it does."""
    if delta.finish_reason:
        choice["finish_reason"], choice["stop_reason"] = FINISH_REASONS[delta.finish_reason], stop_reason(delta)


def chat_delta(delta: worker_pb2.Delta) -> dict[str, Any]:
    """Returns what a delta adds to its choice's message."""
    fields: dict[str, Any] = {}
    if delta.text:
        fields["content"] = delta.text
    if delta.reasoning:
        fields["reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        fields["tool_calls"] = [_tool_call(call) for call in delta.tool_calls]
    return fields


def _tool_call(call: worker_pb2.ToolCallDelta) -> dict[str, Any]:
    """Only the first delta of a call has its id, type and name."""
    function = {"arguments": call.arguments}
    if not call.id:
        return {"index": call.index, "function": function}
    return {"index": call.index, "id": call.id, "type": "function", "function": {"name": call.name, **function}}


class CompletionStream:
    """Encodes a completion."""

    def __init__(
        self, header: GenerationHeader, choices: int, include_usage: bool, *, shown: Shown = PLAIN, first: int = 0
    ) -> None:
        """Makes the encoder of a prompt's answers; `first` is the index of the first of them in the response."""
        self._events = _Events(header, "text_completion", include_usage, shown)
        self._shown, self._prompt, self._first = shown, header.prompt, first
        # Choices whose first event must still show what is asked of the prompt.
        self._unopened = set(range(choices))
        self._logprobs = [logprobs.CompletionLogprobs() for _ in range(choices)]
        self._text = self._around_text()

    def _around_text(self) -> list[tuple[bytes, bytes]]:
        indices = range(self._first, self._first + len(self._logprobs))
        return [self._events.around_text(_text_choice(index, "@")) for index in indices]

    def open(self) -> list[bytes]:
        """Returns nothing: a completion has no opening event."""
        return []

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined."""
        frame = self._frame if self._shown is PLAIN else self._with_more_than_text
        return b"".join([frame(delta) for delta in deltas])

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """Later events have the fingerprint of another version."""
        self._events.go_on_with(version)
        self._text = self._around_text()

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the usage event, if the client asked for it, and [DONE]."""
        return self._events.last(used)

    def fail(self, error: TidegateError) -> bytes:
        """Returns an error event, which takes the place of [DONE]."""
        return event(error.body())

    def _with_more_than_text(self, delta: worker_pb2.Delta) -> bytes:
        choice, shown = _text_choice(self._first + delta.choice, delta.text), self._shown
        opens = delta.choice in self._unopened
        prompt = self._prompt.prompt_logprobs if shown.echo_logprobs and opens else ()
        choice["logprobs"] = self._logprobs[delta.choice].take(delta.logprobs, prompt)
        _end_choice(choice, delta)
        self._events.count(len(delta.token_ids))
        self._unopened.discard(delta.choice)
        if shown.token_ids:
            choice["prompt_token_ids"] = list(self._prompt.prompt_token_ids) if opens else None
            choice["token_ids"] = list(delta.token_ids)
        elif not (delta.text or choice["logprobs"] or delta.finish_reason):
            return b""
        return self._events.of_choice(choice)

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        if delta.finish_reason or delta.logprobs:
            return self._with_more_than_text(delta)
        if not delta.text:
            return b""
        before, after = self._text[delta.choice]
        return before + orjson.dumps(delta.text) + after


def _text_choice(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}
