"""Prefix hashes of a prompt: hashes of some of its prefixes, few enough to look up all of them in one call.

The gateway hashes every block of text. Some of the prefixes that these hashes name are used, with growing distances:
after 1, 2, 3, 4, 6, 8, 12, 16 ... blocks, and after the last one. So the length of a cached prefix is known to within a
third, with about twenty hashes for the longest prompt.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise


def prefix_hashes(block_hashes: Sequence[int], block_tokens: int) -> tuple[str, ...]:
    """Chooses the prefix hashes of a prompt.

    Args:
        block_hashes: One hash for each block of the prompt; it covers all blocks up to this one.
        block_tokens: Tokens of a block.

    Returns:
        The hashes as "hash.tokens", shortest prefix first. The tokens are those that a prefix adds to the one before.
    """
    if not block_hashes:
        return ()
    ends = [0, *_ends(len(block_hashes))]
    return tuple(f"{block_hashes[end - 1]:x}.{(end - begin) * block_tokens}" for begin, end in pairwise(ends))


def _ends(blocks: int) -> Iterator[int]:
    """The lengths, in blocks, of the prefixes that are used."""
    power = 1
    while power < blocks:
        yield power
        if power > 1 and power * 3 // 2 < blocks:
            yield power * 3 // 2
        power *= 2
    if blocks:
        yield blocks
