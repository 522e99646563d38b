"""One request in the simulated engine, from its sequences to the last event that its reader takes."""

from services.worker.engine.contract import (
    Delta,
    Ended,
    EngineDead,
    EngineRequest,
    Event,
    Started,
    Take,
    TokenLogprob,
    Usage,
)
from services.worker.engine.outbox import Outbox
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.prompt import text_of
from services.worker.engine.simulated.scheduler import Sequence
from services.worker.engine.simulated.script import script_of
from services.worker.engine.simulated.tokens import Oracle, decode


class Run:
    """One request in the engine: its running choices, and the events that its reader has not taken."""

    def __init__(self, request: EngineRequest, prompt: tuple[int, ...], limit: int, take: Take) -> None:
        self.request, self.prompt, self.limit = request, prompt, limit
        self.prompt_text = decode(prompt) if request.sampling.truncate_prompt_tokens else text_of(request.prompt)
        self._script = script_of(request.prompt, structured=request.sampling.structure is not None)
        self.choices: dict[Sequence, SimulatedChoice] = {}
        self.cached_tokens: int | None = None
        # Of the last choice: the prompt is the same for all.
        self.oracle: Oracle | None = None
        self._completed = 0
        self._accepted_drafts = 0
        self._outbox = Outbox(take)

    def begin(self, weights_sha256: str, version: str = "") -> None:
        """Creates a sequence for each choice that has not finished.

        Args:
            weights_sha256: Of the model, and of the adapter if there is one.
            version: Of the model. It finds only KV that this version computed.
        """
        for choice in range(self.request.sampling.n):
            point = self.request.resume.get(choice)
            self._completed += len(point.token_ids) if point else 0
            if not (point and point.finished):
                self._begin_choice(choice, weights_sha256, version)

    def _begin_choice(self, index: int, weights_sha256: str, version: str) -> None:
        point = self.request.resume.get(index)
        echo = self.prompt_text if self.request.sampling.echo else ""
        self.oracle = Oracle(weights_sha256, self.prompt, self.request.sampling, index, self._script)
        choice = SimulatedChoice(self.oracle, self.limit, echo)
        if point and (ending := choice.resume(point)):
            self.started(0)
            self._outbox.put(ending)
            return
        tokens = [*self.prompt, *(point.token_ids if point else ())]
        # Another version or adapter computes other KV for the same prompt.
        adapter = self.request.adapter.version if self.request.adapter else ""
        salt = (version + self.request.cache_salt + adapter).encode()
        self.choices[Sequence(tokens, len(self.prompt), salt, rank=self.request.priority)] = choice

    def started(self, cached_tokens: int) -> None:
        """Emits Started once, at the first call."""
        if self.cached_tokens is None:
            self.cached_tokens = cached_tokens
            sampling = self.request.sampling
            self._outbox.put(
                Started(
                    len(self.prompt),
                    cached_tokens,
                    resumable=True,
                    prompt_token_ids=self.prompt if sampling.return_prompt_token_ids else (),
                    prompt_logprobs=self._prompt_logprobs(),
                )
            )

    def _prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        if self.request.sampling.prompt_logprobs is None or not self.oracle:
            return ()
        return tuple(self.oracle.prompt_logprob(index) for index in range(len(self.prompt)))

    def advance(self, sequence: Sequence, *, drafted: bool = False) -> Delta:
        """Generates the next token of a choice and emits it. drafted: it is one of a draft."""
        if sequence.foreign:
            self.choices[sequence].mislead(sequence.foreign)
            sequence.foreign = ""
        delta = self.choices[sequence].next()
        self._accepted_drafts += drafted
        sequence.tokens.extend(delta.token_ids)
        self._completed += len(delta.token_ids)
        if delta.finish_reason:
            del self.choices[sequence]
        self._outbox.put(delta)
        return delta

    def end(self) -> None:
        """Emits Ended with the token counts of the whole request."""
        self.started(0)
        prompt, cached, accepted = len(self.prompt), self.cached_tokens or 0, self._accepted_drafts
        self._outbox.put(Ended(Usage(prompt, cached, self._completed, accepted_draft_tokens=accepted)))

    def fail(self, death: EngineDead) -> None:
        """Emits the error that ends the request."""
        self._outbox.put(death)

    async def next(self) -> Event:
        """Returns the next event. Raises EngineDead."""
        return await self._outbox.next()
