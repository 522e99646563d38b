"""Generations that are not streamed: all deltas are collected, then shown as one JSON document."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.gateway.domain.generation import PLAIN, Shown
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.token_stream import TokenStream
from services.gateway.openai import logprobs
from services.gateway.openai.completion_fields import (
    FINISH_REASONS,
    header_fields,
    stop_reason,
    usage,
    version_spans,
)
from tidegate.worker.v1 import worker_pb2


class DocumentBuilder(Protocol):
    """Collects the deltas of one generation."""

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        """Adds deltas."""
        ...

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> dict[str, Any]:
        """Returns the document, once all deltas were added."""
        ...


@dataclass(slots=True)
class _ToolCall:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(slots=True)
class _Choice:
    index: int
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tool_calls: dict[int, _ToolCall] = field(default_factory=dict)
    logprobs: list[worker_pb2.TokenLogprob] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: str | int | None = None

    def add(self, delta: worker_pb2.Delta) -> None:
        """Most deltas have text and nothing else."""
        self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.logprobs:
            self.logprobs.extend(delta.logprobs)
        if delta.finish_reason:
            self.finish_reason, self.stop_reason = FINISH_REASONS[delta.finish_reason], stop_reason(delta)
        if delta.tool_calls:  # asked first, because a loop over nothing takes three times as long
            self._add_calls(delta.tool_calls)

    def _add_calls(self, calls: Iterable[worker_pb2.ToolCallDelta]) -> None:
        for call in calls:
            known = self.tool_calls.setdefault(call.index, _ToolCall(call.id, call.name))
            known.arguments.append(call.arguments)

    @property
    def likelihood(self) -> float:
        """Log probability a token."""
        return sum(token.logprob for token in self.logprobs) / max(1, len(self.logprobs))

    def message(self) -> dict[str, Any]:
        text = "".join(self.text)
        content = text if text or not self.tool_calls else None
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if reasoning := "".join(self.reasoning):
            message["reasoning_content"] = reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.document() for call in self.tool_calls.values()]
        return message


class _Choices:
    def __init__(self, choices: int, *, shown: Shown = PLAIN) -> None:
        self._choices = [_Choice(index) for index in range(choices)]
        self._shown = shown

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        keeps_tokens = self._shown.token_ids
        for delta in deltas:
            self._choices[delta.choice].add(delta)
            if keeps_tokens:
                self._choices[delta.choice].token_ids.extend(delta.token_ids)

    def _of_prompt(self, header: GenerationHeader) -> dict[str, Any]:
        """Returns what the request asks for of its prompt."""
        fields: dict[str, Any] = {}
        if self._shown.token_ids:
            fields["prompt_token_ids"] = list(header.prompt.prompt_token_ids)
        if self._shown.prompt_logprobs:
            fields["prompt_logprobs"] = logprobs.prompt_positions(header.prompt.prompt_logprobs)
        return fields

    def _of_answer(self, choice: _Choice, header: GenerationHeader) -> dict[str, Any]:
        """Returns what only some answers have."""
        fields = version_spans([span for span in header.spans if span.choice == choice.index])
        return {"token_ids": choice.token_ids, **fields} if self._shown.token_ids else fields


class ChatDocument(_Choices):
    """Builds a chat completion."""

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> dict[str, Any]:
        """Returns the chat completion."""
        choices = [
            {
                "index": index,
                "message": choice.message(),
                "logprobs": logprobs.chat(choice.logprobs),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                **self._of_answer(choice, header),
            }
            for index, choice in enumerate(self._choices)
        ]
        fields = header_fields(header, "chat.completion")
        return {**fields, "choices": choices, "usage": usage(used), **self._of_prompt(header)}


class CompletionDocument(_Choices):
    """Builds a completion."""

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> dict[str, Any]:
        """Returns the completion."""
        prompt = header.prompt.prompt_logprobs if self._shown.echo_logprobs else ()
        choices = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": self._logprobs(choice, prompt),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                **self._of_prompt(header),
                **self._of_answer(choice, header),
            }
            for index, choice in enumerate(self._best())
        ]
        return {**header_fields(header, "text_completion"), "choices": choices, "usage": usage(used)}

    def _logprobs(self, choice: _Choice, prompt: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
        if self._shown.hides_logprobs:
            return None
        return logprobs.CompletionLogprobs().take(choice.logprobs, prompt)

    def _best(self) -> list[_Choice]:
        if not self._shown.best:
            return self._choices
        return sorted(self._choices, key=lambda choice: choice.likelihood, reverse=True)[: self._shown.best]


def joined(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the completions of several prompts as one: choices in order, numbered on, and all counts added.

    Args:
        documents: one for each prompt, in order; all have equally many choices.
    """
    choices = [choice for document in documents for choice in document["choices"]]
    for index, choice in enumerate(choices):
        choice["index"] = index
    return {**documents[0], "choices": choices, "usage": _sum([document["usage"] for document in documents])}


def _sum(counts: Sequence[Any]) -> Any:
    if isinstance(counts[0], dict):
        return {name: _sum([count[name] for count in counts]) for name in counts[0]}
    return sum(counts)


async def collect(stream: TokenStream, builder: DocumentBuilder) -> dict[str, Any]:
    """Reads a stream that has begun to its end, and returns it as one document.

    Raises:
        TidegateError: the generation failed.
    """

    def add(deltas: list[worker_pb2.Delta]) -> bool:
        builder.add(deltas)
        return True

    stream.deliver_to(add)
    while deltas := await stream.read():
        add(deltas)
    return builder.document(GenerationHeader.of(stream), stream.usage)
