"""Where commands write: results to standard output, everything else to standard error."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 240
"""Columns for output that is not a terminal, so that nothing is cut off."""


def out() -> Console:
    """Standard output."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Prints one JSON document, for scripts."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())  # noqa: T201


def build_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without borders. A cell that is too wide for the terminal continues on the next line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def titled(tables: Iterable[tuple[str, Table]]) -> Group:
    """Tables one below the other, each under its title. A column for the title would make one table too wide."""
    parts: list[RenderableType] = []
    for title, table in tables:
        parts += [Text(title, style="bold"), table, ""]
    return Group(*parts[:-1])


def print_wide(content: RenderableType) -> None:
    """Prints to standard output; nothing is cut off where it is not a terminal."""
    console = out()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(content)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table to standard output."""
    print_wide(build_table(columns, rows))
