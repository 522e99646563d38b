"""What a model says, as the items of OpenAI's Responses API: reasoning, messages, function calls."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from services.gateway.openai import logprobs
from tidegate.worker.v1 import worker_pb2


@dataclass(slots=True)
class Item:
    """One that grows until the next one begins. `id` is unique in the whole cluster."""

    id: str
    index: int
    parts: list[str] = field(default_factory=list)
    kind: ClassVar[str] = ""

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def part(self, text: str) -> dict[str, Any] | None:
        """The content part that holds the text; None for items without parts."""
        return None

    def document(self, status: str) -> dict[str, Any]:
        part = self.part(self.text)
        content = [part] if part and self.parts else []
        return {"id": self.id, "type": self.kind, "status": status, "content": content}


@dataclass(slots=True)
class Reasoning(Item):
    kind: ClassVar[str] = "reasoning"

    def part(self, text: str) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": text}

    def document(self, status: str) -> dict[str, Any]:
        return {**Item.document(self, status), "summary": []}


@dataclass(slots=True)
class Message(Item):
    tokens: list[worker_pb2.TokenLogprob] = field(default_factory=list)
    kind: ClassVar[str] = "message"

    def part(self, text: str) -> dict[str, Any]:
        shown = logprobs.response(self.tokens) if text else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": shown}

    def document(self, status: str) -> dict[str, Any]:
        return {**Item.document(self, status), "role": "assistant"}


@dataclass(slots=True)
class Call(Item):
    call_id: str = ""
    name: str = ""
    kind: ClassVar[str] = "function_call"

    def document(self, status: str) -> dict[str, Any]:
        named = {"call_id": self.call_id, "name": self.name, "arguments": self.text}
        return {"id": self.id, "type": self.kind, "status": status, **named}


@dataclass(frozen=True, slots=True)
class Opened:
    item: Item


@dataclass(frozen=True, slots=True)
class Grown:
    item: Item
    text: str
    tokens: tuple[worker_pb2.TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    item: Item


Change = Opened | Grown | Closed


class Output:
    """Items of one answer. `take` and `finish` say what changes, in order; the last item is open."""

    def __init__(self, answer_id: str) -> None:
        self._suffix = answer_id.partition("_")[2]
        self._open: Item | None = None
        self._calls: dict[int, Call] = {}
        self.items: list[Item] = []
        self.finish_reason = worker_pb2.FINISH_REASON_UNSPECIFIED

    def take(self, delta: worker_pb2.Delta) -> Iterator[Change]:
        self.finish_reason = delta.finish_reason or self.finish_reason
        if delta.reasoning:
            yield from self._grow(Reasoning, "rs", delta.reasoning)
        if delta.text or (delta.logprobs and isinstance(self._open, Message)):
            yield from self._grow(Message, "msg", delta.text, tuple(delta.logprobs))
        for call in delta.tool_calls:
            yield from self._call(call)

    def finish(self) -> Iterator[Change]:
        """An answer that said nothing has one empty message."""
        if not self.items:
            yield from self._begin(Message(self._name("msg"), 0))
        yield from self._end()

    @property
    def complete(self) -> bool:
        return self.finish_reason != worker_pb2.FINISH_REASON_LENGTH

    def documents(self) -> list[dict[str, Any]]:
        """An answer that was cut short was cut in its last item."""
        last = len(self.items) - 1
        return [
            item.document("completed" if self.complete or index < last else "incomplete")
            for index, item in enumerate(self.items)
        ]

    def _grow(
        self,
        kind: type[Reasoning] | type[Message],
        prefix: str,
        text: str,
        tokens: tuple[worker_pb2.TokenLogprob, ...] = (),
    ) -> Iterator[Change]:
        item = self._open
        if not isinstance(item, kind):
            item = kind(self._name(prefix), len(self.items))
            yield from self._begin(item)
        item.parts.append(text)
        if isinstance(item, Message):
            item.tokens.extend(tokens)
        yield Grown(item, text, tokens)

    def _call(self, delta: worker_pb2.ToolCallDelta) -> Iterator[Change]:
        if delta.index not in self._calls:
            call = Call(self._name("fc"), len(self.items), call_id=delta.id, name=delta.name)
            self._calls[delta.index] = call
            yield from self._begin(call)
        call = self._calls[delta.index]
        if delta.arguments:
            call.parts.append(delta.arguments)
            yield Grown(call, delta.arguments)

    def _begin(self, item: Item) -> Iterator[Change]:
        yield from self._end()
        self._open = item
        self.items.append(item)
        yield Opened(item)

    def _end(self) -> Iterator[Change]:
        if self._open:
            yield Closed(self._open)
        self._open = None

    def _name(self, prefix: str) -> str:
        return f"{prefix}_{self._suffix}{len(self.items):02x}"
