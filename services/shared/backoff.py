"""Delays between attempts. They double up to a limit and are random, so that replicas do not retry at the same time."""

from collections.abc import Iterator
from random import Random


def backoff(random: Random, *, first_s: float = 0.05, cap_s: float = 2.0) -> Iterator[float]:
    """Endless delays.

    Args:
        random: Source of randomness.
        first_s: Longest first delay, in seconds.
        cap_s: Longest delay, in seconds.

    Yields:
        Seconds to wait: between half of a ceiling and the ceiling, which doubles each time.
    """
    ceiling = first_s
    while True:
        yield random.uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * 2, cap_s)
