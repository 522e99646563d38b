"""One request in vLLM: an engine request for each choice, so that each can resume at its own point."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vllm.inputs import tokens_input
from vllm.outputs import RequestOutput
from vllm.utils.async_utils import merge_async_iterators

from services.worker.engine.contract import Delta, Ended, EngineRequest, Event, ResumePoint, Started, Usage
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.parse import ChoiceParser
from services.worker.engine.vllm.render import Rendered
from services.worker.engine.vllm.sampling import sampling_params


class Answer:
    """limit: tokens that a choice may have."""

    def __init__(self, loaded: Loaded, request: EngineRequest, rendered: Rendered, limit: int) -> None:
        self._loaded, self._request, self._rendered, self._limit = loaded, request, rendered, limit
        self._tokenizer = loaded.llm.renderer.get_tokenizer()
        self._completed = sum(len(point.token_ids) for point in request.resume.values())
        self._cached: int | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        parsers: list[ChoiceParser] = []
        streams: list[AsyncGenerator[RequestOutput, None]] = []
        for choice in range(self._request.sampling.n):
            point = self._request.resume.get(choice) or ResumePoint((), 0)
            if point.finished:
                continue
            parser = self._parser(choice, point)
            if len(point.token_ids) >= self._limit:
                yield Delta(choice, parser.owed, finish_reason="length")
                continue
            parsers.append(parser)
            streams.append(self._stream(choice, point))
        async with aclosing(self._merged(parsers, streams)) as events:
            async for event in events:
                yield event
        if self._cached is None:
            yield Started(len(self._rendered.token_ids), 0)
        yield Ended(Usage(len(self._rendered.token_ids), self._cached or 0, self._completed))

    async def _merged(
        self, parsers: list[ChoiceParser], streams: list[AsyncGenerator[RequestOutput, None]]
    ) -> AsyncGenerator[Event, None]:
        if not streams:
            return
        async with aclosing(merge_async_iterators(*streams)) as outputs:
            async for index, output in outputs:
                if self._cached is None:
                    self._cached = min(output.num_cached_tokens or 0, len(self._rendered.token_ids))
                    yield Started(len(self._rendered.token_ids), self._cached)
                for part in output.outputs:
                    self._completed += len(part.token_ids)
                    yield parsers[index].delta(part, self._request.sampling.top_logprobs)

    def _parser(self, choice: int, point: ResumePoint) -> ChoiceParser:
        parser = self._loaded.parser(choice, self._rendered)
        if point.token_ids:
            # Text across a stop string or half a character is where exact resumption still has work to do.
            text = self._tokenizer.decode(list(point.token_ids), skip_special_tokens=self._rendered.skip_special_tokens)
            parser.resume(text.rstrip("\ufffd"), point.token_ids, point.text_offset)
        elif self._request.sampling.echo:
            parser.owed = self._tokenizer.decode(self._rendered.token_ids, skip_special_tokens=True)
        return parser

    def _stream(self, choice: int, point: ResumePoint) -> AsyncGenerator[RequestOutput, None]:
        request, rendered = self._request, self._rendered
        params = sampling_params(
            request.sampling,
            choice,
            self._limit,
            len(point.token_ids),
            rendered.structured,
            rendered.skip_special_tokens,
        )
        stream: AsyncGenerator[RequestOutput, None] = self._loaded.llm.generate(
            tokens_input([*rendered.token_ids, *point.token_ids], cache_salt=request.cache_salt or None),
            params,
            f"{request.request_id}-{choice}",
            priority=request.priority,
        )
        return stream
