"""What became of the records of a data set, counted by reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NAMES = 50
"""Field names of their own that are counted by name; further ones are counted together."""
OTHER_NAMES = "(other fields)"


@dataclass(slots=True)
class Notes:
    """What happened to one record. It is counted when the record is kept."""

    conversions: set[str] = field(default_factory=set)
    kept_out: set[str] = field(default_factory=set)

    def converted(self, reason: str) -> None:
        """The record says the same as before in another way. `reason`: the same words for all records of a kind."""
        self.conversions.add(reason)

    def rest(self, fields: Mapping[str, Any], known: set[str], path: str = "") -> None:
        """Fields that nobody reads, such as `id`."""
        self.kept_out |= {path + name for name, value in fields.items() if name not in known and value is not None}


@dataclass(slots=True)
class Report:
    """Counts of a whole data set.

    Attributes:
        forms: Files by the form that was found in them.
        kept: Samples.
        converted: Samples by conversion.
        dropped: Samples by reason.
        first_dropped: The first place for each reason.
        kept_out: Samples by the field that was not read.
        files_left_out: Files of a folder whose names are no data's.
    """

    forms: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    converted: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, str] = field(default_factory=dict)
    kept_out: Counter[str] = field(default_factory=Counter)
    files_left_out: int = 0

    def keep(self, notes: Notes) -> None:
        """Counts a sample."""
        self.kept += 1
        self.converted.update(notes.conversions)
        for name in notes.kept_out:
            is_counted = name in self.kept_out or len(self.kept_out) < MAX_NAMES
            self.kept_out[name if is_counted else OTHER_NAMES] += 1

    def drop(self, place: str, reason: str) -> None:
        """Counts a record that is left out."""
        self.dropped[reason] += 1
        self.first_dropped.setdefault(reason, place)

    def sentences(self) -> list[str]:
        """What people should know of records that are not learnt as they stand."""
        dropped = [
            f"{count} samples are dropped, since {reason}; the first is {self.first_dropped[reason]}"
            for reason, count in self.dropped.items()
        ]
        converted = [f"{count} samples were converted: {reason}" for reason, count in self.converted.items()]
        names = ", ".join(f"{name} ({count})" for name, count in self.kept_out.items())
        return [*dropped, *converted, *([f"fields that are not read: {names}"] if names else [])]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "forms": dict(self.forms),
            "samples": self.kept,
            "converted": dict(self.converted),
            "dropped": dict(self.dropped),
            "first_dropped": self.first_dropped,
            "fields_kept_out": dict(self.kept_out),
            "files_left_out": self.files_left_out,
        }
