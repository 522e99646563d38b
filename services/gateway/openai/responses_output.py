"""What a model generates, as the output items of the Responses API: reasoning, messages, calls of tools."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from services.gateway.openai import logprobs
from services.gateway.openai.custom_input import CustomInput
from services.gateway.openai.responses_toolbox import Toolbox
from services.gateway.openai.responses_tools import CustomTool
from tidegate.worker.v1 import worker_pb2


@dataclass(slots=True)
class Item:
    """An item that grows until the next one begins. Its `id` is unique in the whole cluster."""

    id: str
    index: int
    parts: list[str] = field(default_factory=list)
    kind: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    def part(self, text: str) -> dict[str, Any] | None:
        """Returns the content part that holds `text`; None for items without parts."""
        return None

    def document(self, status: str) -> dict[str, Any]:
        """Returns the item as clients see it. status: `in_progress`, `completed` or `incomplete`."""
        part = self.part(self.text)
        content = [part] if part and self.parts else []
        return {"id": self.id, "type": self.kind, "status": status, "content": content}


@dataclass(slots=True)
class Reasoning(Item):
    """Reasoning before the answer. `seal` makes of its text what the client can send back unread."""

    seal: Callable[[str], str] | None = None
    kind: ClassVar[str] = "reasoning"

    def part(self, text: str) -> dict[str, Any]:
        """Returns the content part that holds `text`."""
        return {"type": "reasoning_text", "text": text}

    def document(self, status: str) -> dict[str, Any]:
        """Returns the item as clients see it."""
        sealed = {"encrypted_content": self.seal(self.text)} if self.seal and status != "in_progress" else {}
        return {**Item.document(self, status), "summary": [], **sealed}


@dataclass(slots=True)
class Message(Item):
    """Text of the answer."""

    tokens: list[worker_pb2.TokenLogprob] = field(default_factory=list)
    kind: ClassVar[str] = "message"

    def part(self, text: str) -> dict[str, Any]:
        """Returns the content part that holds `text`."""
        shown = logprobs.response(self.tokens) if text else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": shown}

    def document(self, status: str) -> dict[str, Any]:
        """Returns the item as clients see it."""
        return {**Item.document(self, status), "role": "assistant"}


@dataclass(slots=True)
class Call(Item):
    """A function call. Its text is the arguments."""

    call_id: str = ""
    name: str = ""
    namespace: str | None = None
    kind: ClassVar[str] = "function_call"
    content: ClassVar[str] = "arguments"

    def document(self, status: str) -> dict[str, Any]:
        """Returns the item as clients see it."""
        named = {"call_id": self.call_id, "name": self.name, self.content: self.text}
        within = {"namespace": self.namespace} if self.namespace else {}
        return {"id": self.id, "type": self.kind, "status": status, **named, **within}


@dataclass(slots=True)
class CustomCall(Call):
    """A call of a custom tool. Its text is the input, which is read out of the arguments."""

    reader: CustomInput = field(default_factory=CustomInput)
    kind: ClassVar[str] = "custom_tool_call"
    content: ClassVar[str] = "input"


@dataclass(frozen=True, slots=True)
class Opened:
    """An item began."""

    item: Item


@dataclass(frozen=True, slots=True)
class Grown:
    """An item got more text."""

    item: Item
    text: str
    tokens: tuple[worker_pb2.TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    """An item ended."""

    item: Item


Change = Opened | Grown | Closed


class Output:
    """The items of one response. `take` and `finish` say what changes, in order; only the last item is open."""

    def __init__(self, answer_id: str, tools: Toolbox | None = None, seal: Callable[[str], str] | None = None) -> None:
        """Makes an output without items.

        Args:
            answer_id: id of the response.
            tools: that the model may call; None: functions only, by their own names.
            seal: encrypts reasoning for the client to send back; None: it is not asked for.
        """
        self._suffix = answer_id.partition("_")[2]
        self._tools, self._seal = tools, seal
        self._open: Item | None = None
        self._calls: dict[int, Call] = {}
        self.items: list[Item] = []
        self.finish_reason = worker_pb2.FINISH_REASON_UNSPECIFIED

    def take(self, delta: worker_pb2.Delta) -> Iterator[Change]:
        """Adds a delta, and yields what changes."""
        self.finish_reason = delta.finish_reason or self.finish_reason
        if delta.reasoning:
            yield from self._grow(Reasoning, delta.reasoning)
        if delta.text or (delta.logprobs and isinstance(self._open, Message)):
            yield from self._grow(Message, delta.text, tuple(delta.logprobs))
        for call in delta.tool_calls:
            yield from self._call(call)

    def finish(self) -> Iterator[Change]:
        """Ends the last item, and yields what changes. A response without text has one empty message."""
        if not self.items:
            yield from self._begin(Message(self._name("msg"), 0))
        yield from self._end()

    @property
    def complete(self) -> bool:
        """Whether the model came to its end, rather than to the token limit."""
        return self.finish_reason != worker_pb2.FINISH_REASON_LENGTH

    def documents(self, *, whole: bool = True) -> list[dict[str, Any]]:
        """Returns all items as clients see them. If the response was cut short, its last item is incomplete.

        Args:
            whole: the model came to its end, rather than the response being broken off.
        """
        last, complete = len(self.items) - 1, whole and self.complete
        return [
            item.document("completed" if complete or index < last else "incomplete")
            for index, item in enumerate(self.items)
        ]

    def _grow(
        self,
        kind: type[Reasoning] | type[Message],
        text: str,
        tokens: tuple[worker_pb2.TokenLogprob, ...] = (),
    ) -> Iterator[Change]:
        item = self._open
        if not isinstance(item, kind):
            item = self._reasoning() if kind is Reasoning else Message(self._name("msg"), len(self.items))
            yield from self._begin(item)
        item.parts.append(text)
        if isinstance(item, Message):
            item.tokens.extend(tokens)
        yield Grown(item, text, tokens)

    def _call(self, delta: worker_pb2.ToolCallDelta) -> Iterator[Change]:
        if delta.index not in self._calls:
            self._calls[delta.index] = self._called(delta)
            yield from self._begin(self._calls[delta.index])
        call = self._calls[delta.index]
        if isinstance(call, CustomCall):
            yield from self._add(call, call.reader.feed(delta.arguments))
        else:
            yield from self._add(call, delta.arguments)

    def _called(self, delta: worker_pb2.ToolCallDelta) -> Call:
        callee = self._tools.by_function.get(delta.name) if self._tools else None
        if callee is None:
            return Call(self._name("fc"), len(self.items), call_id=delta.id, name=delta.name)
        custom = isinstance(callee.tool, CustomTool)
        kind, prefix = (CustomCall, "ctc") if custom else (Call, "fc")
        return kind(
            self._name(prefix),
            len(self.items),
            call_id=delta.id,
            name=callee.tool.name,
            namespace=callee.namespace,
        )

    def _reasoning(self) -> Reasoning:
        return Reasoning(self._name("rs"), len(self.items), seal=self._seal)

    def _add(self, call: Call, text: str) -> Iterator[Change]:
        if text:
            call.parts.append(text)
            yield Grown(call, text)

    def _begin(self, item: Item) -> Iterator[Change]:
        yield from self._end()
        self._open = item
        self.items.append(item)
        yield Opened(item)

    def _end(self) -> Iterator[Change]:
        if isinstance(self._open, CustomCall):
            yield from self._add(self._open, self._open.reader.finish())
        if self._open:
            yield Closed(self._open)
        self._open = None

    def _name(self, prefix: str) -> str:
        return f"{prefix}_{self._suffix}{len(self.items):02x}"
