"""Anthropic's Messages API as a client receives it: one document, or the events from which it builds the document."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson

from services.gateway.anthropic import errors
from services.gateway.anthropic.message_output import NOT_ENDED, SIGNATURE, Document, MessageOutput, block, tier, usage
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.progress import VersionSpan
from services.gateway.openai.completion_fields import version_spans_at_end
from services.gateway.openai.responses_output import Call, Change, Closed, Grown, Item, Message, Opened, Reasoning
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2

_DELTAS: dict[type[Item], tuple[str, str]] = {
    Message: ("text_delta", "text"),
    Reasoning: ("thinking_delta", "thinking"),
    Call: ("input_json_delta", "partial_json"),
}
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def document(header: GenerationHeader, content: list[Document], ending: Document, used: worker_pb2.Usage) -> Document:
    """Returns a message.

    Args:
        header: of the generation.
        content: its blocks.
        ending: the fields that say why it ended.
        used: token counts so far.
    """
    return {
        "id": header.id,
        "type": "message",
        "role": "assistant",
        "model": header.model,
        "content": content,
        **ending,
        "usage": {**usage(used), "service_tier": tier(header.service_tier)},
        **version_spans_at_end(header.spans, used),
    }


class MessageDocument:
    """Builds a message that is not streamed."""

    def __init__(self, answer_id: str, stops: list[str]) -> None:
        self._output = MessageOutput(answer_id, stops)

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        """Adds deltas."""
        for delta in deltas:
            self._output.note(delta)
            for _ in self._output.items.take(delta):
                pass

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> Document:
        """Returns the message, once all deltas were added."""
        return document(header, self._output.content(), self._output.ending(), used)


class MessageStream:
    """Encodes a streamed message.

    Events that carry text differ from one another only in their text. All else is built once for each block.
    """

    def __init__(self, header: GenerationHeader, request_id: str, stops: list[str]) -> None:
        """Starts a stream.

        Args:
            header: of the generation.
            request_id: 32 hex digits.
            stops: strings that end the answer.
        """
        self._header, self._request_id = header, request_id
        self._output = MessageOutput(header.id, stops)
        self._before_text: dict[int, bytes] = {}

    def open(self) -> list[bytes]:
        """Returns the events that announce the message."""
        used = worker_pb2.Usage(prompt_tokens=self._header.prompt_tokens, cached_tokens=self._header.cached_tokens)
        message = document(self._header, [], NOT_ENDED, used)
        return [_event("message_start", message=message), _PING]

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined."""
        return b"".join([frame for delta in deltas for frame in self._frames(delta)])

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """The message names its versions at its end."""
        self._header = replace(self._header, version=version, spans=spans)

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the events that end the last block and the message."""
        items = self._output.items
        last = [self._frame(change) for change in items.finish()] if items.items else []
        spans = version_spans_at_end(self._header.spans, used)
        ended = _event("message_delta", delta=self._output.ending(), usage=usage(used), **spans)
        return b"".join([*last, ended, _event("message_stop")])

    def fail(self, error: TidegateError) -> bytes:
        """Returns the event that tells of an error."""
        return errors.event(error, self._request_id)

    def _frames(self, delta: worker_pb2.Delta) -> list[bytes]:
        self._output.note(delta)
        return [self._frame(change) for change in self._output.items.take(delta)]

    def _frame(self, change: Change) -> bytes:
        match change:
            case Grown():
                return self._before_text[change.item.index] + orjson.dumps(change.text) + b"}}\n\n"
            case Opened():
                return self._opened(change.item)
            case Closed():
                return _closed(change.item)

    def _opened(self, item: Item) -> bytes:
        kind, name = _DELTAS[type(item)]
        fields = orjson.dumps({"type": "content_block_delta", "index": item.index, "delta": {"type": kind}})
        before = b"event: content_block_delta\ndata: " + fields[:-2]
        self._before_text[item.index] = before + b',"%b":' % name.encode()
        empty = {"signature": ""} if isinstance(item, Reasoning) else {}
        return _event("content_block_start", index=item.index, content_block={**block(item), **empty})


def _closed(item: Item) -> bytes:
    signed = b""
    if isinstance(item, Reasoning):
        delta = {"type": "signature_delta", "signature": SIGNATURE}
        signed = _event("content_block_delta", index=item.index, delta=delta)
    return signed + _event("content_block_stop", index=item.index)


def _event(name: str, /, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name, **fields}) + b"\n\n"
