"""A generation as a stream of server-sent events: what every encoder of them offers, and what all events repeat."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from services.gateway.generation.progress import VersionSpan, no_prompt
from services.gateway.generation.token_stream import TokenStream
from services.shared.errors import TidegateError
from tidegate.worker.v1 import worker_pb2


@dataclass(frozen=True, slots=True)
class GenerationHeader:
    """What all messages of one generation have in common.

    Attributes:
        id: the generation's id, which the client sees.
        created: seconds since 1970.
        model: name of the model, as the catalog has it.
        service_tier: label of the class that the generation is served in.
        version: version of the model's weights, those of the newest tokens.
        prompt_tokens: tokens that the model reads, as far as they are known.
        cached_tokens: how many of them it had in its cache.
        prompt: what the request asks for of its prompt.
        spans: which tokens so far came from which version; empty if all came from one.
    """

    id: str
    created: int
    model: str
    service_tier: str
    version: str
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt: worker_pb2.Started = field(default_factory=no_prompt)
    spans: tuple[VersionSpan, ...] = ()

    @classmethod
    def of(cls, stream: TokenStream) -> "GenerationHeader":
        """Returns the header of a stream that has begun."""
        generation, used = stream.generation, stream.usage
        return cls(
            generation.id,
            generation.created,
            generation.model.id,
            stream.service_class.label,
            stream.version,
            used.prompt_tokens,
            used.cached_tokens,
            stream.prompt,
            stream.spans,
        )


class EventStream(Protocol):
    """Encodes one generation as server-sent events: opened once, then deltas as they come, closed or failed once."""

    def open(self) -> list[bytes]:
        """Returns the events that come before the first delta, one item each."""
        ...

    def frames(self, deltas: Iterable[worker_pb2.Delta]) -> bytes:
        """Returns the events of some deltas, joined; empty when the deltas have nothing to show."""
        ...

    def go_on_with(self, version: str, spans: tuple[VersionSpan, ...]) -> None:
        """Another version of the model gives what comes from here on. spans: which tokens so far came from which."""
        ...

    def close(self, used: worker_pb2.Usage) -> bytes:
        """Returns the events that end a complete stream."""
        ...

    def fail(self, error: TidegateError) -> bytes:
        """Returns the event that ends a stream with an error."""
        ...
