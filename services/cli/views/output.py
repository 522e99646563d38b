"""Where commands write: results to standard output, everything else to standard error."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

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
    """What is too wide for the terminal goes on below: nothing is cut off."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


def titled(tables: Iterable[tuple[str, Table]]) -> Group:
    """A table under the title of each: as a column of its own, what they have in common would make them too wide."""
    parts: list[RenderableType] = []
    for title, table in tables:
        parts += [Text(title, style="bold"), table, ""]
    return Group(*parts[:-1])


def print_wide(shown: RenderableType) -> None:
    console = out()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(shown)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print_wide(build_table(columns, rows))
