"""Vectors of the simulated engine: texts that share words have vectors that are alike."""

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Sequence

DIMENSIONS = 64
"""Length of a vector; BLAKE2b gives a byte for each number."""


def vector(tokens: Sequence[int], weights_sha256: str, dimensions: int | None = None) -> bytes:
    """Returns the sum of a vector for each token, of length 1.

    Args:
        tokens: Of the text, at least one.
        weights_sha256: Other weights give other vectors.
        dimensions: How many numbers are kept; None: all.

    Returns:
        32-bit floats, little-endian.
    """
    total = [0.0] * (dimensions or DIMENSIONS)
    for token, times in Counter(tokens).items():
        digest = hashlib.blake2b(f"{weights_sha256} {token}".encode(), digest_size=DIMENSIONS).digest()
        for index in range(len(total)):
            total[index] += times * (digest[index] - 127.5)
    length = math.hypot(*total)
    return struct.pack(f"<{len(total)}f", *(number / length for number in total))
