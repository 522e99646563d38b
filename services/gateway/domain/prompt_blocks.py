"""The prompt as a chain of block hashes: with them, the router finds the worker that has its beginning cached."""

from hashlib import blake2b

from services.gateway.domain.cost import BYTES_PER_TOKEN

BLOCK_BYTES = 256
BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN
MAX_BLOCKS = 512


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
