"""What the gateway knows of a prompt before a tokenizer sees it: an estimate of its cost, and the hashes of its blocks.

The worker's usage corrects the estimate at the end. With the hashes, the router finds the worker that has the beginning
of the prompt in its prefix cache.
"""

from dataclasses import dataclass
from hashlib import blake2b

BYTES_PER_TOKEN = 4
DEFAULT_ANSWER_TOKENS = 256
BLOCK_BYTES = 256
BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN
MAX_BLOCKS = 512


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
    completion = min(DEFAULT_ANSWER_TOKENS if token_limit is None else token_limit, limit)
    return Cost(prompt, completion * choices)


def block_hashes(prompt: bytes, *, scope: str) -> list[int]:
    """Returns 64-bit hashes of the complete blocks, first block first. Each hash covers all text before it as well.

    There are at most MAX_BLOCKS: a longer match would not change where a request goes.

    Args:
        prompt: its text.
        scope: pool, adapter and cache salt; equal texts of different scopes share no cache and no hash.
    """
    chained = blake2b(scope.encode(), digest_size=8).digest()
    hashes = []
    for start in range(0, min(len(prompt), BLOCK_BYTES * MAX_BLOCKS) - BLOCK_BYTES + 1, BLOCK_BYTES):
        chained = blake2b(chained + prompt[start : start + BLOCK_BYTES], digest_size=8).digest()
        hashes.append(int.from_bytes(chained, "little"))
    return hashes
