"""JSON as the standard has it: no key twice, no NaN, no half characters."""

import json
import re
from typing import Any, NoReturn

from trainer.data.wrong import WrongRecord

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Escapes of surrogates. Most of them come in pairs, which make a character."""


def parse(text: str) -> Any:
    """Reads one document.

    Raises:
        WrongRecord: It is not JSON, a key stands twice in an object, or a text holds half a character.
    """
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _told(error) from None
    _check_characters(text, found)
    return found


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """Reads the document that begins at `start`. Returns it, and where it ends.

    Raises:
        WrongRecord: As for `parse`.
    """
    try:
        found, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise _told(error) from None
    if _HALF.search(text, start, end):
        _check_characters(text[start:end], found)
    return found, end


def _told(error: ValueError | RecursionError) -> WrongRecord:
    if isinstance(error, WrongRecord):
        return error
    if isinstance(error, json.JSONDecodeError):
        return WrongRecord(f"not JSON: {error.msg[0].lower()}{error.msg[1:]} (column {error.colno})")
    if isinstance(error, RecursionError):
        return WrongRecord("objects and lists lie too deep in each other: write the record flatter")
    return WrongRecord("a number has too many digits: write it as text")


def _check_characters(text: str, found: Any) -> None:
    if not _HALF.search(text):
        return
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise WrongRecord(
            f"a text holds half a character (\\u{half:04x}, a surrogate without its other half): a program cut the "
            "text there; write the whole character, or take the half out"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WrongRecord(f'the key "{twice}" stands twice in one object: keep one of them')
    return found


def _constant(name: str) -> NoReturn:
    raise WrongRecord(f"{name} is no number in JSON: write null or a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
