"""What is kept of a tenant's responses, and of its conversations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept. Responses and conversations are counted apart.

    Attributes:
        lifetime_s: seconds for which a response is kept, or a conversation to which nothing is added.
        count: most of a tenant; older ones go first.
        size: most bytes of a tenant.
    """

    lifetime_s: float
    count: int
    size: int

    def surplus(self, oldest: Sequence[Any], count: int, size: int) -> Sequence[Any]:
        """Returns which rows have to go, so that the others fit.

        Args:
            oldest: rows with their `size` in bytes, the oldest first; not always all of them.
            count: of all rows of the tenant.
            size: of all rows of the tenant, in bytes.
        """
        for gone, row in enumerate(oldest):
            if count - gone <= self.count and size <= self.size:
                return oldest[:gone]
            size -= row.size
        return oldest


def portions(rows: Sequence[Any], size: int) -> Iterator[list[str]]:
    """Splits rows into portions of at most so many bytes together; a larger row is a portion of its own.

    Args:
        rows: rows with their `id` and their `size` in bytes.
        size: bytes.

    Returns:
        The ids of each portion, in order.
    """
    portion: list[str] = []
    left = size
    for row in rows:
        if portion and row.size > left:
            yield portion
            portion, left = [], size
        portion.append(row.id)
        left -= row.size
    if portion:
        yield portion
