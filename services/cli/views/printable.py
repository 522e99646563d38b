"""Text of others, which must not move the cursor or rename the terminal."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text with a mark in place of each control character."""
    return _CONTROL.sub("\ufffd", text)
