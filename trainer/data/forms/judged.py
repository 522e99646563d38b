"""{"prompt": ..., "completion": ..., "label": true}: answers that people like or not, as TRL has them for KTO."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from trainer.data.forms import completion
from trainer.data.forms.fields import kind
from trainer.data.report import Notes
from trainer.data.sample import Conversation
from trainer.data.wrong import WrongRecord

_WORDS: Mapping[str, bool] = MappingProxyType({"true": True, "false": False})
FIELDS = {"prompt", "completion", "tools", "functions", "label"}


def convert(place: str, fields: Mapping[str, Any], notes: Notes) -> Conversation:
    """Raises WrongRecord, Dropped."""
    notes.rest(fields, FIELDS)
    label = fields.get("label")
    if isinstance(label, str):  # as CSV holds it
        label = _WORDS.get(label.lower(), label)
    if not isinstance(label, bool):
        raise WrongRecord(f"label must be true (good) or false (bad), and is {kind(label)}")
    said = {name: value for name, value in fields.items() if name in completion.FIELDS}
    return replace(completion.convert(place, said, notes), good=label)
