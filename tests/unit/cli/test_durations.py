import pytest
import typer

from services.cli.durations import milliseconds, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 500), ("10s", 10_000), ("1.5m", 90_000), ("24h", 86_400_000), ("0", 0), ("2", 2000)],
)
def test_durations_as_people_write_them(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "10 days", "1e9"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        milliseconds(text)


def test_the_shortest_words() -> None:
    assert [words(ms) for ms in (0, 40, 500, 2_500, 60_000, 5_400_000)] == [
        "0ms",
        "40ms",
        "500ms",
        "2.5s",
        "1m",
        "1.5h",
    ]
