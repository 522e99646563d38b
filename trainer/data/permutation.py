"""A keyed permutation: which place a number goes to, without a table of all the others."""

from hashlib import blake2b
from math import isqrt

_ROUNDS = 4


class Permutation:
    """A permutation of the numbers below `size`. The same size and key make the same one, everywhere.

    It is a Feistel network over two digits of any base (Black and Rogaway, 2002, "Ciphers with arbitrary finite
    domains"). The few numbers that it puts beyond `size` go through it again.
    """

    def __init__(self, size: int, key: str) -> None:
        """`size`: 1 or more."""
        self._size = size
        self._high = isqrt(size - 1) + 1
        self._low = -(-size // self._high)
        self._key = blake2b(key.encode(), digest_size=32).digest()

    def __call__(self, number: int) -> int:
        """Where `number` goes. Both are below `size`."""
        # This ends: the way from a number below `size` comes back to that number, if to no other before it.
        while (number := self._once(number)) >= self._size:
            pass
        return number

    def _once(self, number: int) -> int:
        high, low = divmod(number, self._low)
        for turn in range(_ROUNDS):
            high = (high + self._mixed(low, 2 * turn)) % self._high
            low = (low + self._mixed(high, 2 * turn + 1)) % self._low
        return high * self._low + low

    def _mixed(self, digit: int, turn: int) -> int:
        content = digit.to_bytes(8, "big") + turn.to_bytes(1, "big")
        return int.from_bytes(blake2b(content, digest_size=8, key=self._key).digest(), "big")
