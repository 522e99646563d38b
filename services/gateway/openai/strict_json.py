"""JSON exactly as its RFC has it: no duplicate keys, no NaN, no numbers or depths that cause trouble later."""

import json
import re
from typing import Any

import orjson

from services.shared.errors import NotJson

MAX_DEPTH = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_INTEGERS = range(-(2**63), 2**63)


def parse(body: bytes) -> Any:
    """Returns the value of some JSON.

    Raises:
        NotJson: it is not valid; the error says why.
    """
    if not body.strip():
        raise NotJson("The request body is empty; a JSON object is needed.")
    _check_depth(body)
    try:
        orjson.loads(body)  # the stricter grammar: bad UTF-8, lone surrogates, NaN
        return _DECODER.decode(body.decode())
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(f"The request body is not valid JSON: {error}.") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Returns a JSON object.

    Raises:
        NotJson: it is not valid, or not an object.
    """
    value = parse(body)
    if not isinstance(value, dict):
        raise NotJson("The request body must be a JSON object.")
    return value


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
            raise NotJson(f"The request body nests deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJson(f"The key {repeated[:64]!r} stands twice in one JSON object.")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or (value := int(digits)) not in _INTEGERS:
        raise NotJson("The request body has an integer of more than 64 bits.")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise NotJson("The request body has a number too large to represent.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_number)
