"""What a request will cost in tokens, before any tokenizer has seen it; the worker's usage corrects it at the end."""

from dataclasses import dataclass

BYTES_PER_TOKEN = 4
DEFAULT_ANSWER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Cost:
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def estimate(prompt_bytes: int, token_limit: int | None, choices: int, context_tokens: int) -> Cost:
    """Nothing is estimated beyond the model's context; a context of 0 is not known."""
    room = context_tokens or 2**31 - 1
    prompt = min(max(1, -(-prompt_bytes // BYTES_PER_TOKEN)), room)
    answer = min(token_limit or DEFAULT_ANSWER_TOKENS, room)
    return Cost(prompt, answer * choices)
