"""Code of a model's own that its configuration asks for. It never runs here: one rule, for import and for staging."""

from typing import Any

_KEYS = {"auto_map", "custom_pipelines", "trust_remote_code"}


def is_configuration(name: str) -> bool:
    """Whether a file of a model, by its name, is read as configuration by the libraries that load it."""
    return name.endswith("config.json")


def code_key(document: Any) -> str | None:
    """The first key, at any depth, that makes a library run code from the model's folder."""
    left: list[Any] = [document]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if found := _KEYS & item.keys():
                return min(found)
            left += item.values()
        elif isinstance(item, list):
            left += item
    return None


def without_code(document: Any) -> Any:
    """The document without those keys, at any depth. JSON from a file is never too deep for this: it was parsed."""
    if isinstance(document, dict):
        return {key: without_code(value) for key, value in document.items() if key not in _KEYS}
    if isinstance(document, list):
        return [without_code(item) for item in document]
    return document
