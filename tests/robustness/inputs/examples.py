"""Examples of a Hypothesis strategy as a list; the same seed gives the same list."""

from contextlib import suppress
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def draw(strategy: SearchStrategy[T], count: int, seed_: int) -> list[T]:
    """Returns `count` examples, or fewer where there are no more: a GET without parameters has only one form."""
    if not count:
        return []
    drawn: list[T] = []

    @seed(seed_)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(example: T) -> None:
        drawn.append(example)

    with suppress(Unsatisfiable):
        keep()
    return drawn[:count]
