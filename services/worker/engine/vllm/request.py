"""One request in vLLM: an engine request for each choice, so that each can resume at its own point."""

from collections.abc import AsyncGenerator, Callable, Iterable
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
from services.worker.engine.vllm.choice import Choice
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.render import Rendered
from services.worker.engine.vllm.sampling import sampling_params


class VllmRequest:
    """limit: tokens that a choice may have."""

    def __init__(self, loaded: Loaded, request: EngineRequest, rendered: Rendered, limit: int, take: Take) -> None:
        """Raises InvalidPrompt when it is to be resumed and cannot."""
        self._loaded, self._request, self._rendered, self._limit = loaded, request, rendered, limit
        self._outbox = Outbox(take)
        self._asked: list[str] = []
        # Tokens of the choices that have ended.
        self._completed = sum(len(point.token_ids) for point in request.resume.values() if point.finished)
        self._cached: int | None = None
        lacking = obstacle(request.sampling, structured=rendered.structured is not None)
        self._resumable = lacking is None
        if lacking and any(point.token_ids for point in request.resume.values()):
            raise InvalidPrompt(f"this answer cannot be resumed: its tokens do not tell {lacking}")

    async def events(self) -> AsyncGenerator[Event, None]:
        """Closed early, the engine lets go of every choice."""
        points = {choice: self._request.resume.get(choice) for choice in range(self._request.sampling.n)}
        unfinished = {choice: point for choice, point in points.items() if not (point and point.finished)}
        self._left = len(unfinished)
        try:
            for choice, point in unfinished.items():
                await self._begin(choice, point)
            if not unfinished:
                self._end()
            event: Event | None = None
            while not isinstance(event, Ended):
                event = await self._outbox.next()
                yield event
        finally:
            await self._let_go()

    def started(self, cached_tokens: int) -> None:
        """The first choice to start tells; it does so before its first delta."""
        if self._cached is None:
            self._cached = min(cached_tokens, len(self._rendered.token_ids))
            self._outbox.put(Started(len(self._rendered.token_ids), self._cached, self._resumable))

    def gained(self, delta: Delta) -> None:
        """Puts a delta of a choice into the outbox."""
        self._outbox.put(delta)

    def choice_ended(self, choice: Choice) -> None:
        """Counts the tokens of a choice that has ended; the last choice ends the request."""
        self._completed += choice.length
        self._left -= 1
        if not self._left:
            self._end()

    def failed(self, error: Exception) -> None:
        """Puts an error into the outbox; `events` raises it."""
        self._outbox.put(error)

    def _end(self) -> None:
        self.started(0)
        self._outbox.put(Ended(Usage(len(self._rendered.token_ids), self._cached or 0, self._completed)))

    async def _begin(self, index: int, point: ResumePoint | None) -> None:
        choice = self._loaded.choice(index, self._request, self._rendered, self._limit)
        for ending in choice.resume(point) if point and point.token_ids else ():
            self.started(0)
            self._outbox.put(ending)
        if choice.ended:
            self.choice_ended(choice)
        else:
            await self._ask(choice, point.token_ids if point else ())

    async def _ask(self, choice: Choice, done: tuple[int, ...]) -> None:
        request, rendered = self._request, self._rendered
        hearing = ChoiceListener(self, choice, request.sampling.top_logprobs)
        self._asked.append(name := self._loaded.steps.announce(f"{request.request_id}-{choice.index}", hearing))
        await self._loaded.llm.add_request(
            name,
            tokens_input([*rendered.token_ids, *done], cache_salt=request.cache_salt or None),
            sampling_params(request.sampling, choice.index, self._limit, len(done), rendered.structured),
            priority=request.priority,
        )

    async def _let_go(self) -> None:
        """Aborts every choice; vLLM ignores the names of those that have ended."""
        self._loaded.steps.forget(self._asked)
        await self._loaded.llm.abort(self._asked)


class ChoiceListener:
    """A choice, as what the engine generates for it comes in: the Listener of one engine request."""

    def __init__(self, answer: VllmRequest, choice: Choice, top_logprobs: int | None) -> None:
        self._answer, self._choice, self._top_logprobs = answer, choice, top_logprobs
        self.ended = False

    def tokens(self, token_ids: list[int]) -> None:
        """Takes plain tokens of one step."""
        self._pass_on(self._choice.gain, token_ids)

    def put(self, output: RequestOutput | Exception) -> None:
        """Takes an output or an error as vLLM's own output processor makes them."""
        if self.ended:
            return  # vLLM says that it was aborted.
        if isinstance(output, Exception):
            self._fail(output)
            return
        self._answer.started(output.num_cached_tokens or 0)
        for part in output.outputs:
            self._pass_on(self._choice.take, part, self._top_logprobs)
        if output.finished and not self.ended:
            self._end()

    def _pass_on(self, gain: Callable[..., Iterable[Delta]], *gained: Any) -> None:
        try:
            for delta in gain(*gained):
                self._answer.gained(delta)
        except Exception as error:  # noqa: BLE001 -- this request's alone: the step's other outputs are handed out
            self._fail(error)
            return
        if self._choice.ended:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._answer.choice_ended(self._choice)

    def _fail(self, error: Exception) -> None:
        self.ended = True
        self._answer.failed(error)
