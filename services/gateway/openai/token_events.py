"""Answers of POST /inference/v1/generate, streamed or as one document, in vLLM's form."""

from collections.abc import Iterable
from typing import Any

from services.gateway.domain.generation import Generation
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.progress import VersionSpan
from services.gateway.openai import logprobs
from services.gateway.openai.completion_events import DONE, event
from services.gateway.openai.completion_fields import FINISH_REASONS, stop_reason, usage, version_spans
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2


class _Form:
    """How choices are shown: with or without text."""

    def __init__(self, generation: Generation, *, shows_text: bool) -> None:
        self._shows_text = shows_text
        self._shows_logprobs = generation.sampling.HasField("top_logprobs")
        self._shown, self._choices = generation.shown, generation.sampling.n
        self._includes_usage = generation.include_usage
        self._mode = {"output_mode": "text" if shows_text else "tokens"}

    def _choice(
        self, index: int, tokens: Iterable[int], text: str, positions: Iterable[worker_pb2.TokenLogprob]
    ) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "finish_reason": None, "stop_reason": None, "token_ids": list(tokens)}
        if self._shows_text:
            choice["text"] = text
        choice["logprobs"] = None
        if self._shows_logprobs:
            shown = logprobs.chat(positions) if self._shows_text else {"content": logprobs.by_id(positions)}
            choice["logprobs"] = shown
        return choice


def _end(choice: dict[str, Any], delta: worker_pb2.Delta) -> None:
    if delta.finish_reason:
        choice["finish_reason"], choice["stop_reason"] = FINISH_REASONS[delta.finish_reason], stop_reason(delta)


class TokenDocument(_Form):
    """Builds the document of one generation."""

    def __init__(self, generation: Generation, *, shows_text: bool) -> None:
        """Makes a builder without deltas."""
        super().__init__(generation, shows_text=shows_text)
        self._deltas: list[list[worker_pb2.Delta]] = [[] for _ in range(self._choices)]

    def add(self, deltas: Iterable[worker_pb2.Delta]) -> None:
        """Adds deltas."""
        for delta in deltas:
            self._deltas[delta.choice].append(delta)

    def document(self, header: GenerationHeader, used: worker_pb2.Usage) -> dict[str, Any]:
        """Returns the document, once all deltas were added."""
        prompt, shown = header.prompt, self._shown
        positions = logprobs.prompt_positions(prompt.prompt_logprobs) if shown.prompt_logprobs else None
        return {
            "request_id": header.id,
            "model": header.model,
            "created": header.created,
            "usage": usage(used),
            "prompt_logprobs": positions,
            "prompt_token_ids": list(prompt.prompt_token_ids) if shown.token_ids else None,
            **self._mode,
            "choices": [
                self._whole(index, deltas) | version_spans([span for span in header.spans if span.choice == index])
                for index, deltas in enumerate(self._deltas)
            ],
        }

    def _whole(self, index: int, deltas: list[worker_pb2.Delta]) -> dict[str, Any]:
        tokens = (token for delta in deltas for token in delta.token_ids)
        positions = (position for delta in deltas for position in delta.logprobs)
        choice = self._choice(index, tokens, "".join(delta.text for delta in deltas), positions)
        for delta in deltas:
            _end(choice, delta)
        return choice


class TokenStream(_Form):
    """Encodes one generation as events."""

    def __init__(self, header: GenerationHeader, generation: Generation, *, shows_text: bool) -> None:
        """Makes an encoder that has sent nothing."""
        super().__init__(generation, shows_text=shows_text)
        self._fields = {"request_id": header.id, **self._mode}
        self._prompt: list[int] | None = list(header.prompt.prompt_token_ids) if self._shown.token_ids else None
        self._counts = worker_pb2.Usage(prompt_tokens=header.prompt_tokens, cached_tokens=header.cached_tokens)

    def open(self) -> list[bytes]:
        """Returns nothing: there is no opening event."""
        return []

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined."""
        return b"".join([self._frame(delta) for delta in deltas])

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """Later events name the other version; those before name none."""
        self._fields["model_version"] = version

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the usage event, if the client asked for it, and [DONE]."""
        last = {**self._fields, "choices": [], "usage": usage(used)}
        return event(last) + DONE if self._includes_usage else DONE

    def fail(self, error: TidegateError) -> bytes:
        """Returns an error event, which takes the place of [DONE]."""
        return event(error.body())

    def _frame(self, delta: worker_pb2.Delta) -> bytes:
        if not (delta.token_ids or delta.finish_reason or (self._shows_text and delta.text)):
            return b""
        choice = self._choice(delta.choice, delta.token_ids, delta.text, delta.logprobs)
        _end(choice, delta)
        document: dict[str, Any] = {**self._fields, "choices": [choice]}
        if self._shown.continuous_usage:
            self._counts.completion_tokens += len(delta.token_ids)
            document["usage"] = usage(self._counts)
        if self._prompt is not None:
            document["prompt_token_ids"], self._prompt = self._prompt, None
        return event(document)
