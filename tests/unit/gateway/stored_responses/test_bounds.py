"""Which rows of a tenant have to go, and in which portions."""

from typing import NamedTuple

import pytest

from services.gateway.stored_responses.bounds import Bounds, portions


class Sized(NamedTuple):
    id: str
    size: int


ROWS = [Sized("a", 10), Sized("b", 20), Sized("c", 30)]


@pytest.mark.parametrize(
    ("bounds", "rows", "gone"),
    [
        (Bounds(1, count=3, size=60), ROWS, ""),
        (Bounds(1, count=2, size=60), ROWS, "a"),
        (Bounds(1, count=3, size=59), ROWS, "a"),
        (Bounds(1, count=3, size=30), ROWS, "ab"),
        (Bounds(1, count=1, size=60), ROWS, "ab"),
        (Bounds(1, count=3, size=29), ROWS, "abc"),
        (Bounds(1, count=1, size=60), ROWS[:1], "a"),
        (Bounds(1, count=1, size=1), [], ""),
    ],
)
def test_the_oldest_go_until_the_others_fit(bounds: Bounds, rows: list[Sized], gone: str) -> None:
    assert "".join(row.id for row in bounds.surplus(rows, count=3, size=60)) == gone


@pytest.mark.parametrize(
    ("size", "found"),
    [(1, ["a", "b", "c"]), (29, ["a", "b", "c"]), (30, ["ab", "c"]), (50, ["ab", "c"]), (60, ["abc"])],
)
def test_portions_hold_as_many_rows_as_fit_and_one_at_least(size: int, found: list[str]) -> None:
    assert ["".join(ids) for ids in portions(ROWS, size)] == found
    assert list(portions([], size)) == []
