"""JSON: an object a line, or one array of objects. The content decides, whatever the file is called."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from trainer.data import strict_json
from trainer.data.containers.record import Fault, Record
from trainer.data.content import BYTE_ORDER_MARK, Line, decoded, lines, whole
from trainer.data.wrong import WrongData, WrongRecord

MAX_ARRAY_BYTES = 1 << 28
"""An array is read into memory as a whole; lines are not."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PEEK_BYTES = 4096
_MARK = BYTE_ORDER_MARK.encode()


def records(reader: io.BufferedReader, name: str) -> Iterator[Record | Fault]:
    """Raises WrongData: The file is too large, or is neither lines nor an array."""
    start = reader.peek(_PEEK_BYTES)[:_PEEK_BYTES].removeprefix(_MARK).lstrip()
    if start.startswith(b"["):
        content = whole(reader, name, MAX_ARRAY_BYTES, "write one object a line (JSONL), which has no such limit")
        return _items(content, name)
    return _of_lines(reader, name)


def _of_lines(reader: io.BufferedReader, name: str) -> Iterator[Record | Fault]:
    is_first = True
    for line in lines(reader, name):
        content = line.content.removeprefix(_MARK) if line.number == 1 else line.content
        if not content.strip():
            continue
        place = f"{name}:{line.number}"
        try:
            yield Record(place, _object(strict_json.parse(Line(line.number, content).text())))
        except WrongRecord as error:
            if is_first and content.strip() in (b"{", b"{}"):
                raise WrongData(
                    f"{place}: the object goes on over several lines: write each on one line (JSONL), or write all of "
                    "them as one array, in [ ]"
                ) from None
            yield Fault(place, str(error))
        is_first = False


def _items(content: bytes, name: str) -> Iterator[Record | Fault]:
    """Each with the line that it begins on. An item that is not JSON ends the file: nobody knows where it ends."""
    try:
        text = decoded(content).removeprefix(BYTE_ORDER_MARK)
    except WrongRecord as error:
        raise WrongData(f"{name}: {error}") from None
    at = _after_space(text, text.index("[") + 1)
    line, counted = 1, 0
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        place = f"{name}:{line}"
        try:
            found, end = strict_json.parse_at(text, at)
        except WrongRecord as error:
            yield Fault(place, str(error))
            return
        try:
            yield Record(place, _object(found))
        except WrongRecord as error:
            yield Fault(place, str(error))
        at = _after_space(text, end)
        if at < len(text) and text[at] == ",":
            at = _after_space(text, at + 1)
        elif at < len(text) and text[at] != "]":
            yield Fault(place, "not JSON: after this item comes neither a comma nor the ] that ends the array")
            return
    if at >= len(text):
        yield Fault(f"{name}:{text.count(chr(10)) + 1}", "the array has no end: its last part, with ], is missing")
    elif text[at + 1 :].strip():
        yield Fault(
            f"{name}:{text.count(chr(10), 0, at) + 1}", "something stands behind the end of the array: remove it"
        )


def _object(found: Any) -> dict[str, Any]:
    if isinstance(found, dict):
        return found
    raise WrongRecord(f"a sample is an object, {{...}}, and this is {json.dumps(found)[:40]}")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
