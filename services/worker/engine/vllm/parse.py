"""Splits the text of an answer into content, reasoning and tool calls, with vLLM's parsers."""

from dataclasses import dataclass
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import Parser

from services.worker.engine.contract import ToolCallDelta


@dataclass(frozen=True, slots=True)
class ParsedText:
    """The parts of some text without the markup of tool calls and reasoning."""

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    def __add__(self, other: "ParsedText") -> "ParsedText":
        if self is NOTHING:
            return other
        return ParsedText(
            self.content + other.content, self.reasoning + other.reasoning, self.tool_calls + other.tool_calls
        )


NOTHING = ParsedText()


class AnswerParser:
    """Parses the text of one choice.

    Text comes one token at a time, because the result of vLLM's parsers depends on how the text is cut into pieces.
    """

    def __init__(self, parser: Parser | None, chat: ChatCompletionRequest | None, prompt_ids: list[int]) -> None:
        self._parser, self._chat, self._prompt_ids = parser, chat, prompt_ids
        self.called_tools = False
        # There is no parser: all text is content.
        self.passes_through = parser is None or chat is None

    def parse(self, text: str, token_ids: list[int], *, finished: bool) -> ParsedText:
        """Parses the next piece of text.

        Args:
            text: text that follows the pieces parsed before.
            token_ids: tokens that made this text.
            finished: whether this is the last piece of the choice.
        """
        if self._parser is None or self._chat is None:
            return ParsedText(text)
        message = self._parser.parse_delta(
            delta_text=text,
            delta_token_ids=token_ids,
            request=self._chat,
            prompt_token_ids=self._prompt_ids,
            finished=finished,
        )
        if message is None:
            return ParsedText()
        self.called_tools |= bool(message.tool_calls)
        return ParsedText(message.content or "", message.reasoning or "", tuple(map(_tool_call, message.tool_calls)))


def _tool_call(call: Any) -> ToolCallDelta:
    function = call.function
    return ToolCallDelta(
        index=call.index,
        id=call.id or "",
        name=(function and function.name) or "",
        arguments=(function and function.arguments) or "",
    )
