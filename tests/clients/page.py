"""The table of docs/clients.md, made from the last run of each, and the settings from the programs."""

import json
import re
from dataclasses import asdict
from pathlib import Path

from tests.clients.environment import PROGRAMS
from tests.clients.matrix import CLIENTS, Client, Row
from tests.support.cluster import REPOSITORY

PAGE = REPOSITORY / "docs/clients.md"
SEEN = Path(__file__).parent / "seen.json"
BEGIN = "<!-- `make clients` writes what follows; do not edit it by hand. -->\n"
END = "<!-- Here it ends. -->\n"
_SETTINGS = re.compile(
    r"^(?://|#) settings: (?P<language>\w+)(?:; (?P<title>[^\n]*))?\n(?P<text>.*?)^(?://|#) end of settings$",
    re.MULTILINE | re.DOTALL,
)
_STRUCTURED = "structured: "
_HEAD = """
| client | version | over | hello | stream | tools | structured output | notes |
|---|---|---|---|---|---|---|---|
"""


def save(rows: list[Row]) -> None:
    """Keeps what a run saw, beside what earlier runs saw of other clients."""
    ran = {row.client for row in rows}
    known = [*rows, *(row for row in seen() if row.client not in ran)]
    ordered = [asdict(row) for client in CLIENTS for row in known if row.client == client.title]
    SEEN.write_text(json.dumps(ordered, indent=1) + "\n")


def seen() -> list[Row]:
    """What the last run of each client saw."""
    return [Row(**row) for row in json.loads(SEEN.read_text())] if SEEN.exists() else []


def text() -> str:
    """The part of the page that is made."""
    return f"{_table(seen())}\n{''.join(map(_settings, CLIENTS))}"


def written() -> str:
    """The part of the page as it is."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Writes the part of the page that is made."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{text()}{END}{rest.partition(END)[2]}")


def _table(rows: list[Row]) -> str:
    notes = {client.title: client.note for client in CLIENTS}
    lines = []
    for row in rows:
        cells = [_cell(row, "hello"), _cell(row, "stream"), _cell(row, "tools"), _structured(row)]
        note = notes.pop(row.client, "")
        lines.append(f"| {' | '.join([row.client, row.version, row.api, *cells, note])} |\n".replace("  |", " |"))
    return _HEAD + "".join(lines)


def _cell(row: Row, aspect: str) -> str:
    return "yes" if aspect in row.passed else "**no**" if aspect in row.failed else "-"


def _structured(row: Row) -> str:
    ways = [name.removeprefix(_STRUCTURED) for name in row.passed if name.startswith(_STRUCTURED)]
    ways += [f"**not {name.removeprefix(_STRUCTURED)}**" for name in row.failed if name.startswith(_STRUCTURED)]
    return ", ".join(ways) or "-"


def _settings(client: Client) -> str:
    """The settings of a client as its program has them."""
    found = _SETTINGS.search((PROGRAMS / client.program).read_text())
    assert found, f"{client.program} has no settings"
    title = f": {found['title']}" if found["title"] else ""
    return f"\n**{client.title}**{title}\n\n```{found['language'].lower()}\n{found['text'].strip()}\n```\n"
