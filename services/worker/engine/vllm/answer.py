"""One request in vLLM: an engine request for each choice, so that each can resume at its own point."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vllm.inputs import tokens_input
from vllm.outputs import RequestOutput
from vllm.utils.async_utils import merge_async_iterators

from services.worker.engine.contract import (
    Delta,
    Ended,
    EngineRequest,
    Event,
    InvalidPrompt,
    ResumePoint,
    Started,
    Usage,
)
from services.worker.engine.resumable import obstacle
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.render import Rendered
from services.worker.engine.vllm.sampling import sampling_params

_Events = AsyncGenerator[Started | Delta, None]


class Answer:
    """limit: tokens that a choice may have."""

    def __init__(self, loaded: Loaded, request: EngineRequest, rendered: Rendered, limit: int) -> None:
        """Raises InvalidPrompt when it is to be resumed and cannot."""
        self._loaded, self._request, self._rendered, self._limit = loaded, request, rendered, limit
        self._completed = sum(len(point.token_ids) for point in request.resume.values())
        self._cached: int | None = None
        lacking = obstacle(request.sampling, structured=rendered.structured is not None)
        self._resumable = lacking is None
        if lacking and any(point.token_ids for point in request.resume.values()):
            raise InvalidPrompt(f"this answer cannot be resumed: its tokens do not tell {lacking}")

    async def events(self) -> AsyncGenerator[Event, None]:
        points = {choice: self._request.resume.get(choice) for choice in range(self._request.sampling.n)}
        choices = [self._choice(choice, point) for choice, point in points.items() if not (point and point.finished)]
        if choices:
            async with aclosing(_merged(choices)) as merged:
                async for event in merged:
                    if isinstance(event, Delta) or self._cached is None:
                        yield self._note(event)
        if self._cached is None:
            yield self._note(self._started(0))
        yield Ended(Usage(len(self._rendered.token_ids), self._cached or 0, self._completed))

    def _note(self, event: Started | Delta) -> Started | Delta:
        if isinstance(event, Started):
            self._cached = event.cached_tokens
        else:
            self._completed += len(event.token_ids)
        return event

    async def _choice(self, index: int, point: ResumePoint | None) -> _Events:
        """Says Started before its first delta; closed early, the engine lets go of it."""
        choice = self._loaded.choice(index, self._request, self._rendered, self._limit)
        for ending in choice.resume(point) if point and point.token_ids else ():
            yield self._started(0)
            yield ending
        if choice.ended:
            return
        cached: int | None = None
        async with aclosing(self._stream(index, point)) as outputs:
            async for output in outputs:
                if cached is None:
                    cached = min(output.num_cached_tokens or 0, len(self._rendered.token_ids))
                    yield self._started(cached)
                for part in output.outputs:
                    for delta in choice.take(part, self._request.sampling.top_logprobs):
                        yield delta
                if choice.ended:
                    return

    def _started(self, cached_tokens: int) -> Started:
        return Started(len(self._rendered.token_ids), cached_tokens, self._resumable)

    def _stream(self, index: int, point: ResumePoint | None) -> AsyncGenerator[RequestOutput, None]:
        request, rendered = self._request, self._rendered
        done = point.token_ids if point else ()
        stream: AsyncGenerator[RequestOutput, None] = self._loaded.llm.generate(
            tokens_input([*rendered.token_ids, *done], cache_salt=request.cache_salt or None),
            sampling_params(request.sampling, index, self._limit, len(done), rendered.structured),
            f"{request.request_id}-{index}",
            priority=request.priority,
        )
        return stream


def _merged(choices: list[_Events]) -> _Events:
    """One alone is not led through a merger, which would cost each of its tokens a step more."""
    return choices[0] if len(choices) == 1 else _mixed(choices)


async def _mixed(choices: list[_Events]) -> _Events:
    async with aclosing(merge_async_iterators(*choices)) as merged:
        async for _, event in merged:
            yield event
