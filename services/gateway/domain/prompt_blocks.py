"""The prompt as a chain of block hashes, so that placement can find the worker that has its beginning cached."""

from hashlib import blake2b

from services.gateway.domain.cost import BYTES_PER_TOKEN

BLOCK_BYTES = 256
BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN
MAX_BLOCKS = 512


def block_hashes(prompt: bytes, *, scope: str) -> list[int]:
    """64-bit hashes of the whole blocks, first block first; each covers all text before it as well.

    `scope` (pool, adapter, cache salt) keeps equal texts apart that share no cache. Beyond MAX_BLOCKS a longer match
    would no longer change where a request goes.
    """
    chained = blake2b(scope.encode(), digest_size=8).digest()
    hashes = []
    for start in range(0, min(len(prompt), BLOCK_BYTES * MAX_BLOCKS) - BLOCK_BYTES + 1, BLOCK_BYTES):
        chained = blake2b(chained + prompt[start : start + BLOCK_BYTES], digest_size=8).digest()
        hashes.append(int.from_bytes(chained, "little"))
    return hashes
