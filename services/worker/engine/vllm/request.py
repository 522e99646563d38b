"""One request in vLLM. Each choice is an engine request of its own, so that it can resume at its own point."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from vllm.inputs import tokens_input
from vllm.outputs import RequestOutput

from services.worker.engine.contract import (
    Delta,
    Ended,
    EngineRequest,
    Event,
    InvalidPrompt,
    ResumePoint,
    Started,
    Take,
    Usage,
)
from services.worker.engine.outbox import Outbox
from services.worker.engine.resumable import obstacle
from services.worker.engine.vllm.choice import Choice, Position, logprob_of
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.lora import lora_request
from services.worker.engine.vllm.render import Rendered
from services.worker.engine.vllm.sampling import only, sampling_params


class VllmRequest:
    """Runs all choices of one request.

    Args:
        limit: the most tokens that a choice may have.
    """

    def __init__(self, loaded: Loaded, request: EngineRequest, rendered: Rendered, limit: int, take: Take) -> None:
        """Raises InvalidPrompt if the client wants to resume a request that cannot be resumed."""
        self._loaded, self._request, self._rendered, self._limit = loaded, request, rendered, limit
        self._outbox = Outbox(take)
        self._names: list[str] = []
        # Tokens of the choices that have ended.
        self._completed = sum(len(point.token_ids) for point in request.resume.values() if point.finished)
        self._accepted_drafts = 0
        self._cached: int | None = None
        # vLLM generates a token at least. Where a prompt leaves no room for one, its last token is the one generated.
        self._last_of_prompt = rendered.token_ids[-1] if len(rendered.token_ids) == loaded.info.context_tokens else None
        # State that cannot be rebuilt from prompt and tokens.
        unknown = obstacle(request.sampling, structured=rendered.structured is not None)
        self._resumable = unknown is None
        if unknown and any(point.token_ids for point in request.resume.values()):
            raise InvalidPrompt(f"this answer cannot be resumed: its tokens do not tell {unknown}")

    async def events(self) -> AsyncGenerator[Event, None]:
        """Starts the choices and yields their events; closing it early aborts every choice.

        Raises:
            InvalidPrompt: a resume point does not fit its tokens.
        """
        points = {choice: self._request.resume.get(choice) for choice in range(self._request.sampling.n)}
        unfinished = {choice: point for choice, point in points.items() if not (point and point.finished)}
        self._left = len(unfinished)
        try:
            for choice, point in unfinished.items():
                await self._start(choice, point)
            if not unfinished:
                self._end()
            event: Event | None = None
            while not isinstance(event, Ended):
                event = await self._outbox.next()
                yield event
        finally:
            await self._abort()

    def started(self, cached_tokens: int, prompt: Sequence[Position | None] = ()) -> None:
        """Puts Started into the outbox when the first choice starts, before its first delta.

        Args:
            cached_tokens: prompt tokens whose KV was in the prefix cache.
            prompt: log probabilities at each position of the prompt, if the request asks for them.
        """
        if self._cached is not None:
            return
        token_ids, sampling = self._rendered.token_ids, self._request.sampling
        self._cached = min(cached_tokens, len(token_ids))
        self._outbox.put(
            Started(
                len(token_ids),
                self._cached,
                self._resumable,
                prompt_token_ids=tuple(token_ids) if sampling.return_prompt_token_ids else (),
                prompt_logprobs=tuple(
                    logprob_of(token, entries or {}, sampling.prompt_logprobs or 0, self._loaded.token_bytes)
                    for token, entries in zip(token_ids, prompt, strict=False)
                ),
            )
        )

    def prompt_positions(self, output: RequestOutput) -> Sequence[Position | None]:
        """Returns the log probabilities at each position of the prompt, as vLLM's first output has them."""
        positions = output.prompt_logprobs or ()
        if positions and self._last_of_prompt is not None:
            return [*positions, *(output.outputs[0].logprobs or ())]
        return positions

    def add_delta(self, delta: Delta) -> None:
        """Puts a delta of a choice into the outbox."""
        self._outbox.put(delta)

    def choice_ended(self, choice: Choice) -> None:
        """Counts the tokens of a choice that has ended; the last choice ends the request."""
        self._completed += choice.length
        self._left -= 1
        if not self._left:
            self._end()

    def drafted(self, accepted: Sequence[int]) -> None:
        """Counts the draft tokens of a choice that were accepted.

        Args:
            accepted: number of steps that accepted so many draft tokens, by that number.
        """
        self._accepted_drafts += sum(tokens * steps for tokens, steps in enumerate(accepted))

    def failed(self, error: Exception) -> None:
        """Puts an error into the outbox; `events` raises it."""
        self._outbox.put(error)

    def _end(self) -> None:
        self.started(0)
        prompt, cached, drafts = len(self._rendered.token_ids), self._cached or 0, self._accepted_drafts
        self._outbox.put(Ended(Usage(prompt, cached, self._completed, accepted_draft_tokens=drafts)))

    async def _start(self, index: int, point: ResumePoint | None) -> None:
        choice = self._loaded.choice(index, self._request, self._rendered, self._limit)
        for ending in choice.resume(point) if point and point.token_ids else ():
            self.started(0)
            self._outbox.put(ending)
        if choice.ended:
            self.choice_ended(choice)
        else:
            await self._submit(choice, point.token_ids if point else ())

    async def _submit(self, choice: Choice, done: tuple[int, ...]) -> None:
        request, rendered = self._request, self._rendered
        prompt, sampling = rendered.token_ids, request.sampling
        if self._last_of_prompt is not None:
            prompt, sampling = prompt[:-1], only(self._last_of_prompt, sampling)
        listener = ChoiceListener(self, choice, sampling.top_logprobs)
        self._names.append(name := self._loaded.steps.announce(f"{request.request_id}-{choice.index}", listener))
        await self._loaded.llm.add_request(
            name,
            tokens_input([*prompt, *done], cache_salt=self._loaded.salt(request.cache_salt)),
            sampling_params(sampling, choice.index, self._limit, len(done), rendered.structured),
            lora_request=lora_request(request.adapter),
            priority=request.priority,
            trace_headers=request.trace_headers,
        )

    async def _abort(self) -> None:
        """Aborts every choice; vLLM ignores the names of those that have ended."""
        self._loaded.steps.forget(self._names)
        await self._loaded.llm.abort(self._names)


class ChoiceListener:
    """Passes the outputs of one engine request to its choice, and the deltas of the choice to the outbox."""

    def __init__(self, request: VllmRequest, choice: Choice, top_logprobs: int | None) -> None:
        self._request, self._choice, self._top_logprobs = request, choice, top_logprobs
        self.ended = False

    def tokens(self, token_ids: list[int]) -> None:
        """Takes plain tokens of one step."""
        self._deliver(self._choice.add_tokens, token_ids)

    def put(self, output: RequestOutput | Exception) -> None:
        """Takes an output or an error as vLLM's own output processor makes them."""
        if self.ended:
            return  # vLLM reports the abort of a choice that has ended.
        if isinstance(output, Exception):
            self._fail(output)
            return
        self._request.started(output.num_cached_tokens or 0, self._request.prompt_positions(output))
        for part in output.outputs:
            # vLLM tells them with the last output. A choice that a stop string ended has none.
            if part.spec_decode_metrics:
                self._request.drafted(part.spec_decode_metrics.histogram)
            self._deliver(self._choice.add_output, part, self._top_logprobs)
        if output.finished and not self.ended:
            self._end()

    def _deliver(self, add: Callable[..., Iterable[Delta]], *arguments: Any) -> None:
        try:
            for delta in add(*arguments):
                self._request.add_delta(delta)
        except Exception as error:  # noqa: BLE001 -- only this request fails, not the other requests of the step
            self._fail(error)
            return
        if self._choice.ended:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._request.choice_ended(self._choice)

    def _fail(self, error: Exception) -> None:
        self.ended = True
        self._request.failed(error)
