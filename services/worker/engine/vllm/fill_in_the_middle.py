"""Prompts for models that fill in the middle: the text before and the text after, between the model's own tokens."""

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MiddleTokens:
    """The tokens that stand before the text before, before the text after, and before the answer."""

    before: str
    after: str
    middle: str

    def prompt(self, before: str, after: str) -> str:
        """Returns the prompt that the model answers with the text between `before` and `after`."""
        return f"{self.before}{before}{self.after}{after}{self.middle}"


# All of these models were trained on the order before, after, middle.
_KNOWN = (
    MiddleTokens("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen Coder, CodeGemma
    MiddleTokens("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    MiddleTokens("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    MiddleTokens("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001 -- DeepSeek
)


def middle_tokens(vocabulary: Container[str]) -> MiddleTokens | None:
    """Returns the tokens of a model that fills in the middle, or None if its vocabulary has none."""
    for tokens in _KNOWN:
        if all(token in vocabulary for token in (tokens.before, tokens.after, tokens.middle)):
            return tokens
    return None
