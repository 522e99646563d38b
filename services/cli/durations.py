"""Durations as people write them: 500ms, 10s, 2m, 1h; a bare number is seconds."""

import re

import typer

_UNITS_MS = {"ms": 1, "s": 1_000, "": 1_000, "m": 60_000, "h": 3_600_000}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)")


def milliseconds(text: str) -> int:
    """Raises typer.BadParameter."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration, such as 500ms, 10s, 2m or 1h")
    return round(float(match[1]) * _UNITS_MS[match[2]])


def words(milliseconds: float) -> str:
    """The shortest way to say it."""
    for unit in ("h", "m", "s"):
        if milliseconds >= _UNITS_MS[unit]:
            return f"{milliseconds / _UNITS_MS[unit]:.3g}{unit}"
    return f"{milliseconds:.0f}ms"
