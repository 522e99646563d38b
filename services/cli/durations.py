"""Durations as people write them: 500ms, 10s, 2m, 1h. A number without a unit is seconds."""

import re

import typer

_UNITS_MS = {"ms": 1, "s": 1_000, "": 1_000, "m": 60_000, "h": 3_600_000}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)")


def milliseconds(text: str) -> int:
    """Parses a duration.

    Raises:
        typer.BadParameter: `text` is not a duration.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration, such as 500ms, 10s, 2m or 1h")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def words(milliseconds: float) -> str:
    """The duration in its largest unit, with three digits."""
    for unit in ("h", "m", "s"):
        if milliseconds >= _UNITS_MS[unit]:
            return f"{milliseconds / _UNITS_MS[unit]:.3g}{unit}"
    return f"{milliseconds:.0f}ms"
