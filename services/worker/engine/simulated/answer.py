"""One choice of a simulated request: its next token, its text, and when it ends."""

from services.worker.engine.contract import Delta, FinishReason, ResumePoint, Sampling
from services.worker.engine.simulated.stops import StopStrings
from services.worker.engine.simulated.tokens import END, Oracle, token_bytes


class Answer:
    def __init__(self, oracle: Oracle, limit: int, prefix: str = "") -> None:
        """limit: tokens at which it ends. prefix: text that goes before the first delta's (an echoed prompt)."""
        self._oracle, self._limit, self._prefix = oracle, limit, prefix
        self._stops = StopStrings(oracle.sampling.stop)
        self.length = 0

    @property
    def choice(self) -> int:
        return self._oracle.choice

    @property
    def _sampling(self) -> Sampling:
        return self._oracle.sampling

    def resume(self, point: ResumePoint) -> Delta | None:
        """Rebuilds the state after the point's tokens; returns what the client misses, if it misses anything."""
        text = ""
        ending = None
        for token in point.token_ids:
            released, ending = self._advance(token)
            text += released
        self._prefix = text[point.text_offset :]
        if ending is None:
            return None
        return Delta(self.choice, self._take_prefix(), finish_reason=ending[0], stop_reason=ending[1])

    def next(self) -> Delta:
        index = self.length
        token = self._oracle.token(index)
        text, ending = self._advance(token)
        wanted = self._sampling.top_logprobs is not None
        return Delta(
            self.choice,
            self._take_prefix() + text,
            (token,),
            logprobs=(self._oracle.logprob(index),) if wanted else (),
            finish_reason=ending[0] if ending else None,
            stop_reason=ending[1] if ending else "",
        )

    def _advance(self, token: int) -> tuple[str, tuple[FinishReason, str] | None]:
        """Text released by this token and, if it is the last, why."""
        self.length += 1
        if ending := self._ends_at(token):
            return self._stops.flush(), ending
        armed = self.length > self._sampling.min_tokens
        text, stop = self._stops.push(token_bytes(token).decode(errors="replace"), armed=armed)
        if stop is not None:
            return text, ("stop", stop)
        if self.length >= self._limit:
            return text + self._stops.flush(), ("length", "")
        return text, None

    def _ends_at(self, token: int) -> tuple[FinishReason, str] | None:
        if token == END and not self._sampling.ignore_eos:
            return "stop", ""
        if token in self._sampling.stop_token_ids and self.length > self._sampling.min_tokens:
            return "stop", str(token)
        return None

    def _take_prefix(self) -> str:
        prefix, self._prefix = self._prefix, ""
        return prefix
