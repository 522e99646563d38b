"""Delays between tries: doubling, capped, and jittered so that replicas do not retry in step."""

from collections.abc import Iterator
from random import Random


def backoff(random: Random, *, first_s: float = 0.05, cap_s: float = 2.0) -> Iterator[float]:
    """Endless delays in seconds, each drawn from [half, whole] of a ceiling that doubles up to `cap_s`."""
    ceiling = first_s
    while True:
        yield random.uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * 2, cap_s)
