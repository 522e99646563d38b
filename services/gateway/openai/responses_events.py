"""OpenAI's Responses API as a client receives it: one document, or the events from which it builds the document."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.progress import VersionSpan
from services.gateway.openai import logprobs
from services.gateway.openai.completion_fields import version_spans_at_end
from services.gateway.openai.responses_output import (
    Call,
    Change,
    Closed,
    CustomCall,
    Grown,
    Item,
    Message,
    Opened,
    Output,
    Reasoning,
)
from services.gateway.openai.responses_toolbox import Toolbox
from services.shared.clock import Clock
from services.shared.errors import RateLimited, TidegateError
from tidegate.worker.v1 import worker_pb2

Document = dict[str, Any]

_TEXT_EVENTS: dict[type[Item], str] = {
    Message: "response.output_text",
    Reasoning: "response.reasoning_text",
    Call: "response.function_call_arguments",
    CustomCall: "response.custom_tool_call_input",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How one response looks, whatever the model generates.

    Attributes:
        echo: fields that repeat the request.
        tools: that the model may call.
        seal: encrypts reasoning for the client to send back; None: it is not asked for.
    """

    echo: Document
    tools: Toolbox | None = None
    seal: Callable[[str], str] | None = None


def document(header: GenerationHeader, echo: Document, status: str, output: list[Document], **changes: Any) -> Document:
    """Returns a response. echo: fields that repeat the request. changes: fields that differ from the defaults."""
    return {
        "id": header.id,
        "object": "response",
        "created_at": header.created,
        "completed_at": None,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": header.model,
        "output": output,
        "service_tier": header.service_tier,
        "usage": None,
        **echo,
        **changes,
    }


def ended(header: GenerationHeader, echo: Document, output: Output, used: worker_pb2.Usage, clock: Clock) -> Document:
    """Returns a response that ends now; it is `incomplete` when the token limit cut it short."""
    always = {"usage": usage(used), **version_spans_at_end(header.spans, used)}
    if output.complete:
        now = int(clock.wall())
        return document(header, echo, "completed", output.documents(), completed_at=now, **always)
    reason = {"reason": "max_output_tokens"}
    return document(header, echo, "incomplete", output.documents(), incomplete_details=reason, **always)


def usage(used: worker_pb2.Usage) -> Document:
    """Returns token counts as the Responses API shows them."""
    return {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens},
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.prompt_tokens + used.completion_tokens,
    }


class ResponseDocument:
    """Builds a response that is not streamed.

    Attributes:
        final: the response, once it has ended.
    """

    def __init__(self, shape: Shape, answer_id: str, clock: Clock) -> None:
        self._echo, self._clock = shape.echo, clock
        self._output = Output(answer_id, shape.tools, shape.seal)
        self.final: Document | None = None

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        """Adds deltas."""
        for delta in deltas:
            for _ in self._output.take(delta):
                pass

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> Document:
        """Returns the response, once all deltas were added."""
        for _ in self._output.finish():
            pass
        self.final = ended(header, self._echo, self._output, used, self._clock)
        return self.final

    def broken(self, header: GenerationHeader, error: TidegateError) -> Document:
        """Returns a response that failed, with the output that there is."""
        output = self._output.documents(whole=False)
        return document(header, self._echo, "failed", output, error=_failure(error))


class ResponseStream:
    """Encodes a streamed response.

    Events are numbered from 0. Events that carry text differ from one another only in number and text.
    All else is built once for each item.

    Attributes:
        final: the response, once it has ended.
    """

    def __init__(self, header: GenerationHeader, shape: Shape, clock: Clock) -> None:
        self._header, self._echo, self._clock = header, shape.echo, clock
        self._output = Output(header.id, shape.tools, shape.seal)
        self._number = 0
        self._before_text = b""
        self._last_frames: list[bytes] = []
        self._broken: Document | None = None
        self.final: Document | None = None

    def open(self) -> list[bytes]:
        """Returns the events that announce the response."""
        response = document(self._header, self._echo, "in_progress", [])
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined."""
        return b"".join([self._frame(change) for delta in deltas for change in self._output.take(delta)])

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """The response names its versions at its end."""
        self._header = replace(self._header, version=version, spans=spans)

    def end(self, used: worker_pb2.Usage) -> Document:
        """Ends the response, and returns it. Only the first call counts."""
        if self.final is None:
            self._last_frames = [self._frame(change) for change in self._output.finish()]
            self.final = ended(self._header, self._echo, self._output, used, self._clock)
        return self.final

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the events that end the last item and the response."""
        response = self.end(used)
        return b"".join([*self._last_frames, self._event(f"response.{response['status']}", response=response)])

    def fail(self, error: TidegateError) -> bytes:
        """Returns the event that tells of an error."""
        return self._event("response.failed", response=self.broken("failed", error))

    def broken(self, status: str, error: TidegateError) -> Document:
        """Ends the response before its end, and returns it. Only the first call counts."""
        if self._broken is None:
            failure = {"error": _failure(error)} if status == "failed" else {}
            output = self._output.documents(whole=False)
            self._broken = document(self._header, self._echo, status, output, **failure)
        return self._broken

    def _frame(self, change: Change) -> bytes:
        match change:
            case Grown():
                return self._grown(change)
            case Opened():
                return self._opened(change.item)
            case Closed():
                return self._closed(change.item)

    def _opened(self, item: Item) -> bytes:
        frame = self._event("response.output_item.added", output_index=item.index, item=item.document("in_progress"))
        if part := item.part(""):
            frame += self._event("response.content_part.added", **_place(item), part=part)
        name = f"{_TEXT_EVENTS[type(item)]}.delta"
        fields = orjson.dumps({"type": name, **_place(item)})
        self._before_text = b"event: " + name.encode() + b"\ndata: " + fields[:-1] + b',"sequence_number":'
        return frame

    def _grown(self, change: Grown) -> bytes:
        number, text = self._number, orjson.dumps(change.text)
        self._number += 1
        shown = orjson.dumps(logprobs.response(change.tokens)) if change.tokens else b"[]"
        after = b',"logprobs":' + shown if isinstance(change.item, Message) else b""
        return self._before_text + b'%d,"delta":' % number + text + after + b"}\n\n"

    def _closed(self, item: Item) -> bytes:
        text = _text(item)
        shown = {"logprobs": logprobs.response(item.tokens)} if isinstance(item, Message) else {}
        frame = self._event(f"{_TEXT_EVENTS[type(item)]}.done", **_place(item), **text, **shown)
        if part := item.part(item.text):
            frame += self._event("response.content_part.done", **_place(item), part=part)
        status = "completed" if self._output.complete else "incomplete"
        return frame + self._event("response.output_item.done", output_index=item.index, item=item.document(status))

    def _event(self, name: str, /, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        body = orjson.dumps({"type": name, "sequence_number": number, **fields})
        return b"event: " + name.encode() + b"\ndata: " + body + b"\n\n"


def _failure(error: TidegateError) -> Document:
    code = "rate_limit_exceeded" if isinstance(error, RateLimited) else "server_error"
    return {"code": code, "message": error.message}


def _text(item: Item) -> Document:
    """The fields of the event that ends an item's text."""
    match item:
        case CustomCall():
            return {"input": item.text}
        case Call():
            return {"arguments": item.text, "name": item.name}
        case _:
            return {"text": item.text}


def _place(item: Item) -> Document:
    place = {"item_id": item.id, "output_index": item.index}
    return place if isinstance(item, Call) else {**place, "content_index": 0}
