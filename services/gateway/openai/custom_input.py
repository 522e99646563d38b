"""The text that a custom tool is called with. The model writes it as the argument `input` of a function."""

import json
import re
from typing import Any

FIELD = "input"
_BEGIN = re.compile(r'\s*\{\s*"input"\s*:\s*"')
# How far a beginning may be looked for; what is longer is no call as asked for.
_LONGEST_BEGIN = 64
_COMPLETE = re.compile(
    r"(?:[^\"\\\ud800-\udfff]|\\[\"\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})*"
)
# An escape that may be complete once more has come: at most a pair of surrogates.
_UNFINISHED = re.compile(r"\\(?:u[0-9a-fA-F]{0,4}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?")


class CustomInput:
    """Reads the text out of arguments that arrive in pieces, and gives it as soon as it is certain.

    Arguments that are not a JSON object with the text alone are given as they are, at the end: the client's tool can
    make more of them than nothing.
    """

    def __init__(self) -> None:
        self._arguments: list[str] = []
        self._unread = ""
        self._begun = self._ended = self._odd = False

    def feed(self, piece: str) -> str:
        """Takes a piece of the arguments. Returns the text that it adds."""
        self._arguments.append(piece)
        if self._ended or self._odd:
            return ""
        self._unread += piece
        if not self._begun and not self._find_begin():
            return ""
        return self._read()

    def finish(self) -> str:
        """Returns the text that is left when all arguments have come."""
        return "" if self._begun else whole("".join(self._arguments))

    def _find_begin(self) -> bool:
        if begin := _BEGIN.match(self._unread):
            self._begun = True
            self._unread = self._unread[begin.end() :]
        elif len(self._unread) > _LONGEST_BEGIN:
            self._odd = True
            self._unread = ""
        return self._begun

    def _read(self) -> str:
        text = ""
        while True:
            found = _COMPLETE.match(self._unread)
            complete = found[0] if found else ""
            text += str(json.loads(f'"{complete}"', strict=False))
            self._unread = self._unread[len(complete) :]
            if not self._unread or _UNFINISHED.fullmatch(self._unread):
                return text
            if self._unread[0] == '"':
                self._ended, self._unread = True, ""
                return text
            # A lone surrogate or an unknown escape: no text has it.
            wrong = re.match(r"\\u[0-9a-fA-F]{4}", self._unread)
            text += "\ufffd"
            self._unread = self._unread[len(wrong[0]) if wrong else 1 :]


def whole(arguments: str) -> str:
    """Returns the text of arguments that have all come."""
    try:
        value: Any = json.loads(arguments, strict=False)
    except ValueError:
        return arguments
    if isinstance(value, dict) and isinstance(text := value.get(FIELD), str):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if isinstance(value, str) else arguments


def arguments(text: str) -> str:
    """Returns the arguments that stand for a text."""
    return json.dumps({FIELD: text}, ensure_ascii=False)
