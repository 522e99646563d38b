"""JSON exactly as its RFC has it: no duplicate keys, no NaN, no numbers or depths that cause trouble later."""

import json
import re
from typing import Any

import orjson

from services.shared.errors import NotJson

BODY = "The request body"
MAX_DEPTH = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_INTEGERS = range(-(2**63), 2**63)


class _Unusable(Exception):
    """What is wrong with JSON that is valid."""


def parse(body: bytes, what: str = BODY) -> Any:
    """Returns the value of some JSON.

    Args:
        body: the JSON.
        what: it is, as the subject of an error's sentence.

    Raises:
        NotJson: it is not valid; the error says why.
    """
    if not body.strip():
        raise NotJson(f"{what} is empty; a JSON object is needed.")
    try:
        _check_depth(body)
        orjson.loads(body)  # the stricter grammar: bad UTF-8, lone surrogates, NaN
        return _DECODER.decode(body.decode())
    except json.JSONDecodeError as error:  # orjson's errors are of this kind too
        raise NotJson(f"{what} is not valid JSON: {_problem(error)}.") from None
    except _Unusable as error:
        raise NotJson(f"{what} {error}.") from None


def parse_object(body: bytes, what: str = BODY) -> dict[str, Any]:
    """Returns a JSON object. Its arguments are those of `parse`.

    Raises:
        NotJson: it is not valid, or not an object.
    """
    value = parse(body, what)
    if not isinstance(value, dict):
        raise NotJson(f"{what} must be a JSON object.")
    return value


def _problem(error: json.JSONDecodeError) -> str:
    """Most JSON has one line, and then only the column says something."""
    line = f"line {error.lineno}, " if error.lineno > 1 else ""
    return f"{error.msg} at {line}column {error.colno}"


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
        elif first in b"]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise _Unusable(f"nests deeper than {MAX_DEPTH} levels")


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
