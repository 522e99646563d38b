"""Every table that Lua writes as an event or an answer has exactly the fields that core/events.py declares."""

import re
from dataclasses import fields
from pathlib import Path

from services.router.core.events import EVENTS, REFUSALS, LimitState, Queued, json_fields

SOURCES = {path.name: path.read_text() for path in Path("services/router/lua").rglob("*.lua")}
# Revoked is an event of revoke.lua, and an answer of submit.lua to the request that it is about.
ANSWERS = {
    "queued": {name for name, _ in json_fields(Queued)},
    "revoke": {"reason"},
    **{kind: set(names) for kind, names in REFUSALS.items()},
}


def written() -> list[tuple[str, set[str]]]:
    """Kind and fields of every table with a kind."""
    tables = [table for text in SOURCES.values() for table in re.findall(r"\{\s*(kind = '[^{}]*?)\}", text)]
    assert sum(text.count("kind = '") for text in SOURCES.values()) == len(tables)
    return [(re.findall(r"kind = '(\w+)'", table)[0], names(table) - {"kind"}) for table in tables]


def names(table: str) -> set[str]:
    return set(re.findall(r"(\w+) = ", table))


def test_lua_writes_the_declared_fields() -> None:
    declared = {kind: {name for name, _ in json_fields(event)} for kind, event in EVENTS.items()}
    for kind, found in written():
        assert found in (declared.get(kind), ANSWERS.get(kind)), f"{kind}: {sorted(found)}"


def test_every_declared_kind_is_written() -> None:
    by_lua = {kind for kind, _ in written()}
    by_python = {"drain", "deliver", "stage"}
    assert by_lua | by_python == EVENTS.keys() | ANSWERS.keys()
    assert not by_lua & by_python


def test_limit_states_have_the_declared_fields() -> None:
    [table] = re.findall(r"states\[#states \+ 1\] = \{(.*?)\n    \}", SOURCES["limits.lua"], re.DOTALL)
    assert names(table) == {f.name for f in fields(LimitState)}
