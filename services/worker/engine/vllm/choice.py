"""One choice of an answer on its way out, from its first token on, whichever worker made them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput

from services.worker.engine.contract import (
    MAX_DELTA_TOKENS,
    Delta,
    FinishReason,
    InvalidPrompt,
    ResumePoint,
    TokenLogprob,
    TopLogprob,
)
from services.worker.engine.vllm.decode import Decoder, Ending
from services.worker.engine.vllm.parse import NOTHING, AnswerParser, ParsedText

Position = dict[int, Logprob]


class Choice:
    """limit: tokens that it may have. echo: text that goes before the first token's."""

    def __init__(self, index: int, decoder: Decoder, parser: AnswerParser, limit: int, echo: str = "") -> None:
        self.index = index
        self._decoder, self._parser, self._limit = decoder, parser, limit
        # Nothing but text is made of its tokens.
        self._is_plain = decoder.stopless and parser.is_silent
        self.length = 0
        # Characters that were decoded, and those that the client has.
        self._decoded = 0
        self._told = 0
        self._owed = ParsedText(echo)
        self.ended = False

    def resume(self, point: ResumePoint) -> Iterator[Delta]:
        """Brings it to where another worker stopped; yields the ending if that is all the client misses."""
        self._owed, ending = NOTHING, None
        for token in point.token_ids:
            last = self.length + 1 == len(point.token_ids)
            said, ending = self._advance(token, self._ending_after(token) if last else None)
            if self._decoded > point.text_offset:
                self._owed += said
        if self._decoded < point.text_offset:
            raise InvalidPrompt("the tokens to resume from have less text than their reader has")
        self._told = point.text_offset
        if ending:
            yield self._delta((), (), NOTHING, ending)

    def take(self, output: CompletionOutput, top_logprobs: int | None) -> Iterable[Delta]:
        """Adds one output of vLLM and yields the deltas that it makes.

        Args:
            output: new tokens of this choice only, not all tokens so far.
            top_logprobs: alternatives for each token that the client asked for.
        """
        return self.gain(list(output.token_ids), list(output.logprobs or ()), _ending(output), top_logprobs)

    def gain(
        self,
        token_ids: list[int],
        positions: Sequence[Position | None] = (),
        ending: Ending | None = None,
        top_logprobs: int | None = None,
    ) -> Iterable[Delta]:
        """Nothing comes of what follows a stop string."""
        if self._is_plain and self._owed is NOTHING and len(token_ids) == 1 and not positions and ending is None:
            return (self._next(token_ids[0]),)
        return self._parts(token_ids, positions, ending, top_logprobs)

    def _next(self, token: int) -> Delta:
        """Nearly every token goes this way, so it is short."""
        self.length += 1
        text, text_from = self._decoder.next(token), self._told
        self._decoded = self._told = text_end = text_from + len(text)
        return Delta(self.index, text, (token,), text_from=text_from, text_end=text_end)

    def _parts(
        self,
        token_ids: list[int],
        positions: Sequence[Position | None],
        ending: Ending | None,
        top_logprobs: int | None,
    ) -> Iterator[Delta]:
        for at in range(0, max(1, len(token_ids)), MAX_DELTA_TOKENS):
            here = slice(at, at + MAX_DELTA_TOKENS)
            is_last = at + MAX_DELTA_TOKENS >= len(token_ids)
            yield self._some(token_ids[here], positions[here], ending if is_last else None, top_logprobs)
            if self.ended:
                return

    def _some(
        self, token_ids: list[int], positions: Sequence[Position | None], ending: Ending | None, top: int | None
    ) -> Delta:
        said, logprobs, ended = NOTHING, [], None if token_ids else ending
        taken = 0
        for token in token_ids:
            if positions:
                logprobs.append(self._logprob(token, positions[taken] or {}, top or 0))
            taken += 1
            more, ended = self._advance(token, ending if taken == len(token_ids) else None)
            said += more
            if ended:
                break
        return self._delta(tuple(token_ids[:taken]), tuple(logprobs), said, ended)

    def _advance(self, token: int, ending: Ending | None) -> tuple[ParsedText, Ending | None]:
        self.length += 1
        text, ending = self._decoder.push(token, ending)
        self._decoded += len(text)
        return self._parser.parse(text, [token], finished=ending is not None), ending

    def _ending_after(self, token: int) -> Ending | None:
        """How it ended with the last token that it is resumed from, if it did."""
        if ending := self._decoder.ending_of(token):
            return ending
        return Ending("length") if self.length + 1 >= self._limit else None

    def _delta(
        self, token_ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...], said: ParsedText, ending: Ending | None
    ) -> Delta:
        said, self._owed = self._owed + said, NOTHING
        text_from, self._told = self._told, self._decoded
        self.ended = ending is not None
        return Delta(
            choice=self.index,
            text=said.content,
            token_ids=token_ids,
            reasoning=said.reasoning,
            tool_calls=said.tool_calls,
            logprobs=logprobs,
            finish_reason=self._finish_reason(ending),
            stop_reason=ending.stop if ending else "",
            text_from=text_from,
            text_end=self._told,
        )

    def _finish_reason(self, ending: Ending | None) -> FinishReason | None:
        if ending is None:
            return None
        return "tool_calls" if ending.reason == "stop" and self._parser.called_tools else ending.reason

    def _logprob(self, token: int, entries: Position, top: int) -> TokenLogprob:
        ranked = sorted(entries.items(), key=lambda entry: entry[1].logprob, reverse=True)[:top]
        others = tuple(TopLogprob(other, self._decoder.words(other), _finite(entry)) for other, entry in ranked)
        return TokenLogprob(token, self._decoder.words(token), _finite(entries.get(token)), others)


def _ending(output: CompletionOutput) -> Ending | None:
    """Returns None for the other reasons of vLLM (aborted, failed): these end no choice."""
    if output.finish_reason not in ("stop", "length"):
        return None
    reason: Any = output.finish_reason
    return Ending(reason, "" if output.stop_reason is None else str(output.stop_reason))


def _finite(entry: Logprob | None) -> float:
    """-inf does not survive every client's JSON."""
    return -9999.0 if entry is None else max(entry.logprob, -9999.0)
