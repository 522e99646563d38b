"""A commented recipe to start from: every key with its meaning, and with its value where nobody says another."""

import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.recipe_file import METHODS

_WIDTH = 100
_FIRST = {
    "base": "smollm2-135m-instruct",
    "data": "chats.jsonl",
    "learning_rate": 0.0001,
    "merge_method": "ties",
    "models": [{"model": "chats", "weight": 1.0}, {"model": "code", "weight": 1.0}],
}
"""Keys that must be set, with a value to begin with."""
_ONE_OF = {"steps": 100}
"""Keys that need not be set, but one of which must be."""
_FIRST_OF: Mapping[str, Mapping[str, Any]] = {
    "pretrain": {
        "data": "texts",
        "learning_rate": 0.001,
        "tokenizer": "smollm2-135m-instruct",
        "model": {"size": "15m"},
    }
}
"""The same for one method, and optional keys that it should begin with."""
_LAST = ("evaluate", "gate", "publish")
"""What happens to the result stands at the end."""
_NAME = "my-model"
"""Where a part of the recipe wants the name of a model."""


def starter(method: str) -> str:
    """The content of a recipe file.

    Args:
        method: A key of METHODS.
    """
    return commented(METHODS[method], _FIRST_OF.get(method, {}), "", f"method: {method}")


def commented(kind: type[BaseModel], first: Mapping[str, Any], *begin: str) -> str:
    """The content of a file with every key of `kind`.

    Args:
        kind: A model whose fields have descriptions.
        first: Keys that are set, with their values.
        begin: Lines that come before the keys.
    """
    told = f"{' '.join((kind.__doc__ or '').split())} A key behind # has its default: take the # away to change it."
    head = textwrap.wrap(told, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*head, *begin, *_lines(kind, first)]) + "\n"


def _lines(kind: type[BaseModel], first: Mapping[str, Any]) -> Iterator[str]:
    # sorted() keeps the order of the rest.
    for name, field in sorted(kind.model_fields.items(), key=lambda entry: entry[0] in _LAST):
        if name == "method":
            continue
        yield ""
        yield from textwrap.wrap(field.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# ")
        part = _part(field)
        if name in first and part:
            yield f"{name}:"
            yield from (f"  {line}" for line in _part_lines(part, first[name]))
        elif name in first:
            yield _entry(name, first[name])
        elif name in _ONE_OF:
            yield _entry(name, _ONE_OF[name])
        elif field.is_required() and part:
            yield f"{name}:"
            yield from (f"  {line}" for line in _part_lines(part))
        elif field.is_required():
            yield _entry(name, _FIRST[name])
        elif part:
            yield f"#{name}:"
            yield from (f"#  {line}" for line in _part_lines(part))
        else:
            yield f"#{_entry(name, field.default)}"


def _part_lines(part: type[BaseModel], first: Mapping[str, Any] = MappingProxyType({})) -> Iterator[str]:
    for name, field in part.model_fields.items():
        value = first.get(name, (field.examples or [_NAME])[0] if field.is_required() else field.default)
        yield f"{_entry(name, value)}  # {field.description}"


def _part(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a key that has keys of its own."""
    kind: Any = field.annotation
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _entry(name: str, value: Any) -> str:
    if isinstance(value, tuple | dict):
        return f"{name}: {yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()}"
    return yaml.safe_dump({name: value}).strip() if value is not None else f"{name}:"
