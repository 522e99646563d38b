"""What a container of data yields: records, and places where there is none."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one sample as they stand in the file. `place` is file and line, row or item."""

    place: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that cannot be read. `sentence` says why, and what to do."""

    place: str
    sentence: str
