"""An estimate of what a request costs in tokens, before a tokenizer sees it. The worker's usage corrects it later."""

from dataclasses import dataclass

BYTES_PER_TOKEN = 4
DEFAULT_ANSWER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated tokens, of all choices together."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


def estimate(prompt_bytes: int, token_limit: int | None, choices: int, context_tokens: int) -> Cost:
    """Estimates the cost of a request, never beyond the model's context.

    Args:
        prompt_bytes: of text.
        token_limit: most tokens of one choice; None: no limit.
        choices: answers to the same prompt.
        context_tokens: of the model; 0: not known.
    """
    limit = context_tokens or 2**31 - 1
    prompt = min(max(1, -(-prompt_bytes // BYTES_PER_TOKEN)), limit)
    completion = min(token_limit or DEFAULT_ANSWER_TOKENS, limit)
    return Cost(prompt, completion * choices)
