"""Outputs of vLLM as deltas: text through its tool and reasoning parsers, log probabilities in our shape."""

from collections.abc import Sequence
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput
from vllm.parser import Parser

from services.worker.engine.contract import Delta, FinishReason, TokenLogprob, ToolCallDelta, TopLogprob


class ChoiceParser:
    """One choice on its way out. Keeps what vLLM's parser keeps; `resume` brings it to where another worker stopped."""

    def __init__(
        self, choice: int, parser: Parser | None, chat: ChatCompletionRequest | None, prompt_ids: list[int]
    ) -> None:
        self._choice, self._parser, self._chat, self._prompt_ids = choice, parser, chat, prompt_ids
        self._called_tools = False
        # Text that goes before the next output's: an echoed prompt, or what a resumed client still misses.
        self.owed = ""

    def resume(self, text: str, token_ids: Sequence[int], text_offset: int) -> None:
        """Feeds the text that the client already has, unheard, and owes it the rest."""
        self._parse(text[:text_offset], list(token_ids), finished=False)
        self.owed = text[text_offset:]

    def delta(self, output: CompletionOutput, top_logprobs: int | None) -> Delta:
        text, self.owed = self.owed + output.text, ""
        token_ids = list(output.token_ids)
        finished = output.finish_reason is not None
        content, reasoning, calls = self._parse(text, token_ids, finished=finished)
        return Delta(
            choice=self._choice,
            text=content,
            token_ids=tuple(token_ids),
            reasoning=reasoning,
            tool_calls=calls,
            logprobs=_logprobs(token_ids, output.logprobs, top_logprobs) if output.logprobs else (),
            finish_reason=self._finish_reason(output.finish_reason),
            stop_reason="" if output.stop_reason is None else str(output.stop_reason),
        )

    def _parse(self, text: str, token_ids: list[int], *, finished: bool) -> tuple[str, str, tuple[ToolCallDelta, ...]]:
        """Content, reasoning and tool calls."""
        if self._parser is None or self._chat is None:
            return text, "", ()
        message = self._parser.parse_delta(
            delta_text=text,
            delta_token_ids=token_ids,
            request=self._chat,
            prompt_token_ids=self._prompt_ids,
            finished=finished,
        )
        if message is None:
            return "", "", ()
        self._called_tools |= bool(message.tool_calls)
        return message.content or "", message.reasoning or "", tuple(map(_tool_call, message.tool_calls))

    def _finish_reason(self, reason: str | None) -> FinishReason | None:
        if reason == "stop" and self._called_tools:
            return "tool_calls"
        return "length" if reason == "length" else "stop" if reason == "stop" else None


def _tool_call(call: Any) -> ToolCallDelta:
    function = call.function
    return ToolCallDelta(
        index=call.index,
        id=call.id or "",
        name=(function and function.name) or "",
        arguments=(function and function.arguments) or "",
    )


def _logprobs(
    token_ids: list[int], positions: Sequence[dict[int, Logprob] | None], top: int | None
) -> tuple[TokenLogprob, ...]:
    return tuple(_logprob(token, entries or {}, top or 0) for token, entries in zip(token_ids, positions, strict=True))


def _logprob(token: int, entries: dict[int, Logprob], top: int) -> TokenLogprob:
    ranked = sorted(entries.items(), key=lambda entry: entry[1].logprob, reverse=True)[:top]
    text, logprob = _entry(entries.get(token))
    return TokenLogprob(token, text, logprob, tuple(TopLogprob(other, *_entry(entry)) for other, entry in ranked))


def _entry(entry: Logprob | None) -> tuple[bytes, float]:
    """-inf does not survive every client's JSON."""
    if entry is None:
        return b"", -9999.0
    return (entry.decoded_token or "").encode(errors="replace"), max(entry.logprob, -9999.0)
