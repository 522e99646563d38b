"""{"text": ...}, and plain text files."""

from collections.abc import Mapping
from typing import Any

from trainer.data.forms.fields import optional_text
from trainer.data.report import Notes
from trainer.data.sample import Text
from trainer.data.wrong import Dropped, WrongRecord

FIELDS = {"text"}


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Text:
    """Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    if "text" not in fields:
        raise WrongRecord("text is missing")
    found = optional_text(fields, "text") or ""
    if not found.strip():
        raise Dropped("the text is empty or null")
    if "\r\n" in found:
        notes.converted("line ends became line feeds")
        found = found.replace("\r\n", "\n")
    return Text(place, found)
