"""Where commands write: results to standard output, everything else to standard error."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 240
"""Nothing is cut off where no terminal sets a width."""


def out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """One document, for machines."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())  # noqa: T201


def build_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table, console = build_table(columns, rows), out()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
