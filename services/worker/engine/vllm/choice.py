"""Makes deltas from the tokens of one choice.

A resumed choice first reads the tokens that an earlier worker made, so that text, parsers and limits go on from there.
"""

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
from services.worker.engine.vllm.token_bytes import TokenBytes

Position = dict[int, Logprob]


class Choice:
    """Makes the deltas of one choice.

    Args:
        token_bytes: knows the bytes of the model's tokens.
        limit: the most tokens that the choice may have.
        echo: the text of the prompt, which the first delta repeats; empty without an echo.
    """

    def __init__(
        self, index: int, decoder: Decoder, parser: AnswerParser, token_bytes: TokenBytes, limit: int, echo: str = ""
    ) -> None:
        self.index = index
        self._decoder, self._parser, self._token_bytes, self._limit = decoder, parser, token_bytes, limit
        # Its tokens become text only: no stop strings, no reasoning, no tool calls.
        self._is_plain = decoder.decodes_directly and parser.passes_through and limit > 0
        self.length = 0
        # Characters that were decoded, and those that deltas have covered.
        self._decoded = 0
        self._delivered = 0
        # Text that the next delta delivers too.
        self._pending = ParsedText(echo)
        self.ended = False

    def resume(self, point: ResumePoint) -> Iterator[Delta]:
        """Goes to the point where another worker stopped; yields one delta if the choice had ended there.

        Raises:
            InvalidPrompt: the tokens have less text than the client already has.
        """
        self._pending, ending = NOTHING, None
        for token in point.token_ids:
            last = self.length + 1 == len(point.token_ids)
            parsed, ending = self._advance(token, self._ending_after(token) if last else None)
            if self._decoded > point.text_offset:
                self._pending += parsed
        if self._decoded < point.text_offset:
            raise InvalidPrompt("the tokens to resume from have less text than the client already has")
        self._delivered = point.text_offset
        if ending:
            yield self._delta((), (), NOTHING, ending)

    def add_output(self, output: CompletionOutput, top_logprobs: int | None) -> Iterable[Delta]:
        """Adds one output of vLLM and yields the deltas that it makes.

        Args:
            output: new tokens of this choice only, not all tokens so far.
            top_logprobs: alternatives for each token that the client asked for.
        """
        return self.add_tokens(list(output.token_ids), list(output.logprobs or ()), _ending(output), top_logprobs)

    def add_tokens(
        self,
        token_ids: list[int],
        positions: Sequence[Position | None] = (),
        ending: Ending | None = None,
        top_logprobs: int | None = None,
    ) -> Iterable[Delta]:
        """Adds tokens and returns the deltas that they make; ignores tokens after a stop string.

        Args:
            token_ids: new tokens, any number.
            positions: log probabilities of each token; empty when the client asked for none.
            ending: how the engine ended the choice with the last of these tokens.
            top_logprobs: alternatives for each token that the client asked for.
        """
        if self._is_plain and self._pending is NOTHING and len(token_ids) == 1 and not positions and ending is None:
            return (self._plain_delta(token_ids[0]),)
        return self._chunks(token_ids, positions, ending, top_logprobs)

    def _plain_delta(self, token: int) -> Delta:
        """Makes the delta of one plain token. Nearly every token takes this path, so it is short."""
        self.length += 1
        text, text_from = self._decoder.next(token), self._delivered
        self._decoded = self._delivered = text_end = text_from + len(text)
        return Delta(self.index, text, (token,), text_from=text_from, text_end=text_end)

    def _chunks(
        self,
        token_ids: list[int],
        positions: Sequence[Position | None],
        ending: Ending | None,
        top_logprobs: int | None,
    ) -> Iterator[Delta]:
        if not self._limit:
            # The request asks for no tokens, but vLLM generates one.
            yield self._delta((), (), NOTHING, Ending("length"))
            return
        for start in range(0, max(1, len(token_ids)), MAX_DELTA_TOKENS):
            chunk = slice(start, start + MAX_DELTA_TOKENS)
            is_last = start + MAX_DELTA_TOKENS >= len(token_ids)
            yield self._chunk(token_ids[chunk], positions[chunk], ending if is_last else None, top_logprobs)
            if self.ended:
                return

    def _chunk(
        self, token_ids: list[int], positions: Sequence[Position | None], ending: Ending | None, top: int | None
    ) -> Delta:
        parsed, logprobs, ended = NOTHING, [], None if token_ids else ending
        used = 0
        for token in token_ids:
            if positions:
                logprobs.append(logprob_of(token, positions[used] or {}, top or 0, self._token_bytes))
            used += 1
            piece, ended = self._advance(token, ending if used == len(token_ids) else None)
            parsed += piece
            if ended:
                break
        return self._delta(tuple(token_ids[:used]), tuple(logprobs), parsed, ended)

    def _advance(self, token: int, ending: Ending | None) -> tuple[ParsedText, Ending | None]:
        self.length += 1
        text, ending = self._decoder.push(token, ending)
        self._decoded += len(text)
        return self._parser.parse(text, [token], finished=ending is not None), ending

    def _ending_after(self, token: int) -> Ending | None:
        """Returns how the choice ended with the last token of its resume point, or None if it did not end."""
        if ending := self._decoder.ending_of(token):
            return ending
        return Ending("length") if self.length + 1 >= self._limit else None

    def _delta(
        self, token_ids: tuple[int, ...], logprobs: tuple[TokenLogprob, ...], parsed: ParsedText, ending: Ending | None
    ) -> Delta:
        parsed, self._pending = self._pending + parsed, NOTHING
        text_from, self._delivered = self._delivered, self._decoded
        self.ended = ending is not None
        return Delta(
            choice=self.index,
            text=parsed.content,
            token_ids=token_ids,
            reasoning=parsed.reasoning,
            tool_calls=parsed.tool_calls,
            logprobs=logprobs,
            finish_reason=self._finish_reason(ending),
            stop_reason=ending.stop if ending else "",
            text_from=text_from,
            text_end=self._delivered,
        )

    def _finish_reason(self, ending: Ending | None) -> FinishReason | None:
        if ending is None:
            return None
        return "tool_calls" if ending.reason == "stop" and self._parser.called_tools else ending.reason


def logprob_of(token: int, entries: Position, top: int, token_bytes: TokenBytes) -> TokenLogprob:
    """Returns the log probability of a token, and the likeliest tokens at its position.

    Args:
        token: the token that is there.
        entries: what vLLM knows of the position; nothing for the first token of a prompt.
        top: how many of the likeliest tokens to show.
        token_bytes: knows the bytes of the model's tokens.
    """
    ranked = sorted(entries.items(), key=lambda entry: entry[1].logprob, reverse=True)[:top]
    others = tuple(TopLogprob(other, token_bytes.of(other), _finite(entry)) for other, entry in ranked)
    entry = entries.get(token)
    rank = (entry.rank or 0) if entry else 0
    return TokenLogprob(token, token_bytes.of(token), _finite(entry) if entries else 0.0, others, rank)


def _ending(output: CompletionOutput) -> Ending | None:
    """Returns None for the other reasons of vLLM (aborted, failed): these end no choice."""
    if output.finish_reason not in ("stop", "length"):
        return None
    reason: Any = output.finish_reason
    return Ending(reason, "" if output.stop_reason is None else output.stop_reason)


def _finite(entry: Logprob | None) -> float:
    """Replaces -inf, which many JSON parsers refuse."""
    return -9999.0 if entry is None else max(entry.logprob, -9999.0)
