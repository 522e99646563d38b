"""JSON exactly as its RFC has it: no duplicate keys, no NaN, no numbers or depths that cause trouble later."""

import json
import re
from typing import Any

import orjson

from services.shared.errors import NotJson

MAX_DEPTH = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_INTEGERS = range(-(2**63), 2**63)


BODY = "The request body"


def parse(text: bytes, what: str = BODY) -> Any:
    """Returns the value of some JSON.

    Args:
        text: the JSON.
        what: what errors call it.

    Raises:
        NotJson: it is not valid; the error says why.
    """
    if not text.strip():
        raise NotJson(f"{what} is empty; a JSON object is needed.")
    _check_depth(text, what)
    try:
        orjson.loads(text)  # the stricter grammar: bad UTF-8, lone surrogates, NaN
        return _DECODER.decode(text.decode())
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"{what} is not valid JSON: {error}.") from None
    except _Unusable as error:
        raise NotJson(f"{what} {error}.") from None


def parse_object(text: bytes, what: str = BODY) -> dict[str, Any]:
    """Returns a JSON object. Arguments are those of `parse`.

    Raises:
        NotJson: it is not valid, or not an object.
    """
    value = parse(text, what)
    if not isinstance(value, dict):
        raise NotJson(f"{what} must be a JSON object.")
    return value


class _Unusable(Exception):
    """Valid JSON that would cause trouble later. The message goes on after `The request body`."""


def _check_depth(text: bytes, what: str) -> None:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        first = text[token.start()]
        if first in b"[{":
            depth += 1
        elif first in b"]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise NotJson(f"{what} nests deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Unusable(f"has the key {repeated[:64]!r} twice in one JSON object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or (value := int(digits)) not in _INTEGERS:
        raise _Unusable("has an integer of more than 64 bits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _Unusable("has a number too large to represent")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_number)
