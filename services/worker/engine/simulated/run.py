"""One request in the simulated engine, from its first sequence to the last event that its reader takes."""

import asyncio

from services.worker.engine.contract import Delta, Ended, EngineDead, EngineRequest, Event, Started, Usage
from services.worker.engine.simulated.answer import Answer
from services.worker.engine.simulated.prompt import text_of
from services.worker.engine.simulated.scheduler import Sequence
from services.worker.engine.simulated.tokens import Oracle


class Run:
    """One request in the engine: its choices that still run, and the events that its reader has not taken."""

    def __init__(self, request: EngineRequest, prompt: tuple[int, ...], limit: int) -> None:
        self.request, self.prompt, self.limit = request, prompt, limit
        self.prompt_text = text_of(request.prompt)
        self.answers: dict[Sequence, Answer] = {}
        self.cached_tokens: int | None = None
        self._completed = 0
        # Bounded by construction: a delta for each token, one for each choice ended by its resume point, and two more.
        self._outbox: asyncio.Queue[Event | EngineDead] = asyncio.Queue(request.sampling.n * (limit + 1) + 2)

    def begin(self, weights_sha256: str) -> None:
        """Makes the sequences of the choices that have not finished."""
        for choice in range(self.request.sampling.n):
            point = self.request.resume.get(choice)
            self._completed += len(point.token_ids) if point else 0
            if not (point and point.finished):
                self._begin_choice(choice, weights_sha256)

    def _begin_choice(self, choice: int, weights_sha256: str) -> None:
        point = self.request.resume.get(choice)
        echo = self.prompt_text if self.request.sampling.echo else ""
        answer = Answer(Oracle(weights_sha256, self.prompt, self.request.sampling, choice), self.limit, echo)
        if point and (ending := answer.resume(point)):
            self.started(0)
            self._put(ending)
            return
        tokens = [*self.prompt, *(point.token_ids if point else ())]
        salt = self.request.cache_salt.encode()
        self.answers[Sequence(tokens, len(self.prompt), salt, rank=self.request.priority)] = answer

    def started(self, cached_tokens: int) -> None:
        if self.cached_tokens is None:
            self.cached_tokens = cached_tokens
            self._put(Started(len(self.prompt), cached_tokens, resumable=True))

    def advance(self, sequence: Sequence) -> Delta:
        """The next token of a choice, handed to the reader."""
        delta = self.answers[sequence].next()
        sequence.tokens.extend(delta.token_ids)
        self._completed += 1
        if delta.finish_reason:
            del self.answers[sequence]
        self._put(delta)
        return delta

    def end(self) -> None:
        self.started(0)
        self._put(Ended(Usage(len(self.prompt), self.cached_tokens or 0, self._completed)))

    def fail(self, death: EngineDead) -> None:
        self._put(death)

    async def next(self) -> Event:
        """Raises EngineDead."""
        event = await self._outbox.get()
        if isinstance(event, EngineDead):
            raise event
        return event

    def _put(self, event: Event | EngineDead) -> None:
        self._outbox.put_nowait(event)
