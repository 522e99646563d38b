"""What the drill saw last of each kind: as data (seen.json), and as the table of docs/models.md."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

DATA = Path(__file__).parent / "seen.json"
PAGE = Path(__file__).parents[3] / "docs/models.md"
BEGIN = "<!-- Written by `python -m tests.robustness.architectures --record` from here. -->\n"
END = "<!-- Written by hand from here. -->\n"


class Way(StrEnum):
    """How the worker came to the second version, and back."""

    IN_PLACE = "in place"
    REPLACED = "replaced"
    NONE = "no"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one kind.

    Attributes:
        kind: Its name.
        architecture: Its class in transformers and vLLM.
        asked: Requests that were compared with vLLM alone.
        same: Of them, those with the same token ids and the same text.
        golden: Golden prompts that each version proved.
        way: How the worker came to the second version, and back.
        streams: Streams that ended while this went on, all with the right answer of their version.
        of_second: Of them, those of the second version.
    """

    kind: str
    architecture: str
    asked: int
    same: int
    golden: int
    way: Way
    streams: int
    of_second: int


def read() -> dict[str, Seen]:
    """What was seen, by kind."""
    rows = [Seen(**{**row, "way": Way(row["way"])}) for row in json.loads(DATA.read_text())["kinds"]]
    return {row.kind: row for row in rows}


def record(row: Seen, order: Iterable[str], vllm: str) -> None:
    """Writes the row over that of the same kind, in the data and on the page."""
    known = {**read(), row.kind: row}
    kinds = [asdict(known[name]) for name in order if name in known]
    DATA.write_text(json.dumps({"vllm": vllm, "kinds": kinds}, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text()))


def table(rows: Iterable[Seen], vllm: str) -> str:
    """The rows as a table in Markdown."""
    head = [
        f"With vLLM {vllm} on a CPU, float32:",
        "",
        "| kind | architecture | answers equal to vLLM's | golden prompts | changed under load, and back |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_row, rows)]) + "\n"


def _row(row: Seen) -> str:
    changed = f"{row.way}: {row.streams} streams, {row.of_second} of the second version"
    said = "**no**" if row.way is Way.NONE else changed
    return f"| {row.kind} | `{row.architecture}` | {row.same} of {row.asked} | {row.golden} | {said} |"


def written(page: str) -> str:
    """Returns the page with the table of the data.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}{table(read().values(), json.loads(DATA.read_text())['vllm'])}{END}{after}"
