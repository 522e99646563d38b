"""CSV and TSV: names in the first row, a sample in each other row, in UTF-8."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from trainer.data import strict_json
from trainer.data.containers.record import Fault, Record
from trainer.data.content import BYTE_ORDER_MARK, MAX_LINE_BYTES, lines
from trainer.data.wrong import WrongData, WrongRecord

NESTED = {"messages", "conversations", "tools", "chosen", "rejected", "prompt", "completion", "history"}
"""Columns that may hold JSON: a list that was written as text."""
_LIST = re.compile(r"\s*\[\s*[\[{]")


def records(reader: io.BufferedReader, name: str, separator: str) -> Iterator[Record | Fault]:
    """Raises WrongData: The file has no header, is not UTF-8, or a quote is never closed."""
    # The module knows only one limit for the whole process; its own is 131,072 characters, less than a long chat.
    csv.field_size_limit(MAX_LINE_BYTES)
    rows = csv.reader(_text(reader, name), delimiter=separator, strict=True)
    header = _header(rows, name, separator)
    ended = rows.line_num
    while True:
        place = f"{name}:{ended + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise WrongData(
                f"{place}: not CSV: {error}. Write a quote inside of a field twice, and close every quote"
            ) from None
        ended = rows.line_num
        if row is None:
            return
        if row:
            yield _record(place, header, row)


def _record(place: str, header: list[str], row: list[str]) -> Record | Fault:
    if len(row) != len(header):
        return Fault(
            place, f"the row has {len(row)} fields and the header {len(header)}: quote fields that hold separators"
        )
    try:
        return Record(place, {name: _value(name, cell) for name, cell in zip(header, row, strict=True)})
    except WrongRecord as error:
        return Fault(place, str(error))


def _header(rows: Iterator[list[str]], name: str, separator: str) -> list[str]:
    try:
        header = next(rows, None)
    except csv.Error as error:
        raise WrongData(f"{name}:1: not CSV: {error}") from None
    if not header:
        raise WrongData(f"{name}:1: the first row must name the columns, such as instruction,input,output")
    if len(header) == 1 and ";" in header[0]:
        raise WrongData(f"{name}:1: the columns are separated by ';': write the file with {separator!r}")
    if len(set(header)) != len(header):
        raise WrongData(f"{name}:1: a column name stands twice in the header: keep one of them")
    return header


def _value(name: str, cell: str) -> Any:
    return strict_json.parse(cell) if name in NESTED and _LIST.match(cell) else cell


def _text(reader: io.BufferedReader, name: str) -> Iterator[str]:
    for line in lines(reader, name):
        try:
            text = line.text()
        except WrongRecord as error:
            raise WrongData(f"{name}:{line.number}: {error}") from None
        yield text.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else text
