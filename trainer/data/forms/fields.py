"""Reading fields of a record, with words for what stands there instead."""

from collections.abc import Mapping
from typing import Any

from trainer.data import strict_json
from trainer.data.wrong import Dropped, WrongRecord

EMPTY_TURN = "a turn is empty or null"


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


def text(value: Any, path: str) -> str:
    """Raises WrongRecord: The value is no text."""
    if isinstance(value, str):
        return value
    raise WrongRecord(f"{path} must be text, and is {kind(value)}")


def optional_text(fields: Mapping[str, Any], name: str, path: str = "") -> str | None:
    """None where the field is missing, null or empty. Raises WrongRecord."""
    value = fields.get(name)
    return None if value is None else text(value, path + name) or None


def turn_text(fields: Mapping[str, Any], name: str) -> str:
    """Raises WrongRecord: It is missing or no text. Raises Dropped: It is empty or null."""
    if name not in fields:
        raise WrongRecord(f"{name} is missing: {_names(fields)}")
    if not (found := optional_text(fields, name)) or not found.strip():
        raise Dropped(EMPTY_TURN)
    return found


def objects(value: Any, path: str) -> list[dict[str, Any]]:
    """Raises WrongRecord: The value is no list of objects."""
    if not isinstance(value, list):
        raise WrongRecord(f"{path} must be a list, and is {kind(value)}")
    for place, item in enumerate(value):
        if not isinstance(item, dict):
            raise WrongRecord(f"{path}.{place} must be an object, and is {kind(item)}")
    return value


def from_text(value: Any, path: str) -> Any:
    """What JSON in a text means, as Parquet and CSV hold it; other values as they are. Raises WrongRecord."""
    if not isinstance(value, str):
        return value
    try:
        return strict_json.parse(value)
    except WrongRecord as error:
        raise WrongRecord(f"{path}: {error}") from None


def _names(fields: Mapping[str, Any]) -> str:
    return f"the sample has {', '.join(sorted(fields)) or 'no fields'}"
