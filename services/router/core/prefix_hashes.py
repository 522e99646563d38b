"""Markers of a prompt: hashes of its beginnings, few enough to look up all of them in one call.

The gateway hashes every block of text. Of the beginnings that these name, a few are kept, ever further apart: after 1,
2, 3, 4, 6, 8, 12, 16 ... blocks and after the last. So a cached beginning is known to within a third of its length,
with some twenty prefix_hashes for the longest prompt.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise


def prefix_hashes(block_hashes: Sequence[int], block_tokens: int) -> tuple[str, ...]:
    """As "hash.tokens", the tokens being those that each adds to the one before."""
    if not block_hashes:
        return ()
    ends = [0, *_ends(len(block_hashes))]
    return tuple(f"{block_hashes[end - 1]:x}.{(end - begin) * block_tokens}" for begin, end in pairwise(ends))


def _ends(blocks: int) -> Iterator[int]:
    """Numbers of blocks after which a marker stands."""
    power = 1
    while power < blocks:
        yield power
        if power > 1 and power * 3 // 2 < blocks:
            yield power * 3 // 2
        power *= 2
    if blocks:
        yield blocks
