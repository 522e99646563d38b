"""One choice of a simulated request: its next token, its text, and when it ends."""

from codecs import getincrementaldecoder
from dataclasses import replace

from services.worker.engine.contract import (
    Delta,
    FinishReason,
    ResumePoint,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
)
from services.worker.engine.simulated.script import split
from services.worker.engine.simulated.stops import StopStrings
from services.worker.engine.simulated.tokens import END, Oracle, token_bytes, token_text

Ending = tuple[FinishReason, str | int]


class SimulatedChoice:
    """Generates the tokens and the text of one choice."""

    def __init__(self, oracle: Oracle, limit: int, prefix: str = "") -> None:
        """Starts a choice.

        Args:
            oracle: Knows the answer's tokens.
            limit: Number of tokens after which the choice ends.
            prefix: Text before that of the first delta (an echoed prompt).
        """
        self._oracle, self._limit, self._prefix = oracle, limit, prefix
        self._stops = StopStrings(oracle.sampling.stop, include=oracle.sampling.include_stop)
        self._decoder = getincrementaldecoder("utf-8")("replace") if oracle.script else None
        self.length = 0
        # Characters that may go out, and characters that were sent.
        self._released = 0
        self._sent = 0

    @property
    def choice(self) -> int:
        """Index of the choice in its request."""
        return self._oracle.choice

    @property
    def _sampling(self) -> Sampling:
        return self._oracle.sampling

    def resume(self, point: ResumePoint) -> Delta | None:
        """Rebuilds the state after the point's tokens; returns the last delta if the choice had ended there."""
        text = ""
        ending = None
        for token in point.token_ids:
            released, ending = self._advance(token)
            text += released
        self._prefix, self._sent = text[point.text_offset :], point.text_offset
        return self._delta("", (), ending) if ending else None

    def mislead(self, weights_sha256: str) -> None:
        """Goes on with another answer, as a real model would on top of KV that other weights have computed."""
        self._oracle = replace(self._oracle, weights_sha256=f"{self._oracle.weights_sha256} after {weights_sha256}")

    def next(self) -> Delta:
        """Generates the next token."""
        if not self._limit:
            return self._delta("", (), ("length", ""))
        index = self.length
        token = self._oracle.token(index)
        text, ending = self._advance(token)
        with_logprobs = self._sampling.top_logprobs is not None
        return self._delta(text, (token,), ending, (self._oracle.logprob(index),) if with_logprobs else ())

    def _delta(
        self, text: str, token_ids: tuple[int, ...], ending: Ending | None, logprobs: tuple[TokenLogprob, ...] = ()
    ) -> Delta:
        prefix, self._prefix = self._prefix, ""
        text_from, self._sent = self._sent, self._released
        delta = Delta(
            self.choice,
            prefix + text,
            token_ids,
            logprobs=logprobs,
            finish_reason=ending[0] if ending else None,
            stop_reason=ending[1] if ending else "",
            text_from=text_from,
            text_end=self._sent,
        )
        return self._scripted(delta) if self._oracle.script else delta

    def _scripted(self, delta: Delta) -> Delta:
        """Gives the text of a scripted answer to the parts that it belongs to."""
        script = self._oracle.script
        calls = [number for number, part in enumerate(script) if part.kind == "call"]
        if delta.finish_reason == "stop" and not delta.stop_reason and calls:
            delta.finish_reason = "tool_calls"
        text, delta.text = delta.text, ""
        # Text that waited for a worker is older than that of the last token.
        for number, piece, begins in split(script, text, delta.text_end - len(text)):
            part = script[number]
            if part.kind == "text":
                delta.text += piece
            elif part.kind == "reasoning":
                delta.reasoning += piece
            else:
                id_, name = (self._oracle.call_id(number), part.name) if begins else ("", "")
                delta.tool_calls += (ToolCallDelta(calls.index(number), id_, name, piece),)
        return delta

    def _advance(self, token: int) -> tuple[str, Ending | None]:
        """Returns the text that this token releases and, if it is the last token, why the choice ends."""
        text, ending = self._release(token)
        self._released += len(text)
        return text, ending

    def _release(self, token: int) -> tuple[str, Ending | None]:
        self.length += 1
        if ending := self._ends_at(token):
            shown = self._decode(token) if self._sampling.include_stop else ""
            return self._stops.flush() + shown, ending
        armed = self.length > self._sampling.min_tokens
        text, stop = self._stops.push(self._decode(token), armed=armed)
        if stop is not None:
            return text, ("stop", stop)
        if self.length >= self._limit:
            return text + self._stops.flush(), ("length", "")
        return text, None

    def _decode(self, token: int) -> str:
        """Returns the new text of a token. Only scripts have characters of several tokens."""
        if self._decoder is None:
            return token_text(token)
        return self._decoder.decode(token_bytes(token))

    def _ends_at(self, token: int) -> Ending | None:
        if token == END and not self._sampling.ignore_eos:
            return "stop", ""
        if token in self._sampling.stop_token_ids and self.length > self._sampling.min_tokens:
            return "stop", token
        return None
