"""Puts Lua scripts together from the files under lua/ (lua/README.md shows how a file is written).

A file names the files that it needs. `-- @require a, b` at its top puts them before it. `-- @load a, b` inside a
function puts them there, so that their functions are made only when that function runs. The loader puts each file in
exactly once, and everything is defined before it is used.

Scripts get their arguments by position, and code names them: `-- ARG name  meaning` declares one, `ARG.name` reads it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.router.core.keys import lua_names, lua_table

LUA = Path(__file__).parents[1] / "lua"

_REQUIRE = re.compile(r"^-- @require (.+)$", re.MULTILINE)
_LOAD = re.compile(r"^ +-- @load (.+)$", re.MULTILINE)
_ARGUMENT = re.compile(r"^-- ARG (\w+)(\.\.\.)?(?= |$)", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\b(ARG|INDEX|SETTING|KEY)\.(\w+)")


class LuaError(Exception):
    """Lua files do not fit together: one is missing, one requires itself, or a name is not declared."""


@dataclass(frozen=True, slots=True)
class ComposedScript:
    """A script that Redis can run.

    Attributes:
        source: The Lua code.
        arguments: Names of its arguments in the order of ARGV.
        rest: Name of the arguments that follow these, any number of them; "" if there are none.
    """

    source: str
    arguments: tuple[str, ...]
    rest: str


def library_file(name: str, *, policy: str, clock: str) -> Path:
    """The file of a library name.

    Args:
        name: A file of lua/lib, or one of three names that stand for a choice: placement, placement_order, clock.
        policy: The placement policy, a file of lua/policies.
        clock: server or simulated, a file of lua/clocks.
    """
    match name:
        case "placement":
            return LUA / "policies" / f"{policy}.lua"
        case "placement_order":
            return LUA / "policies" / f"{policy}.order.lua"
        case "clock":
            return LUA / "clocks" / f"{clock}.lua"
        case _:
            return LUA / "lib" / f"{name}.lua"


def compose(name: str, text: str, *, library: Callable[[str], Path], settings: Mapping[str, float]) -> ComposedScript:
    """Composes one script.

    Args:
        name: The script's name, for errors.
        text: The Lua code of the command.
        library: Finds the file of a required name.
        settings: Values of `SETTING.name`; they are written into the code.

    Raises:
        LuaError: The files do not fit together; the error names file and reason.
    """
    composition = _Composition(library)
    flags, body = _without_flags(text)
    code = composition.put(f"commands/{name}", body, set())
    arguments, rest = composition.arguments()
    used = {found[2] for found in _PLACEHOLDER.finditer(code) if found[1] == "KEY"}
    if unknown := used - lua_names().keys():
        raise LuaError(f"{name}: no key is named {', '.join(sorted(unknown))}")
    values = {
        "ARG": {argument: f"ARGV[{n}]" for n, argument in enumerate(arguments, 1)},
        "INDEX": {argument: str(n) for n, argument in enumerate([*arguments, rest], 1) if argument},
        "SETTING": {setting: f"{value!r}" for setting, value in settings.items()},
        "KEY": {key: f"KEY.{key}" for key in used},
    }
    code = _PLACEHOLDER.sub(lambda found: _value(name, values, found[1], found[2]), code)
    return ComposedScript(f"{flags}{lua_table(used)}{code}", arguments, rest)


def _without_flags(text: str) -> tuple[str, str]:
    """The line `#!lua ...`, which must come first, and the rest."""
    first, _, rest = text.partition("\n")
    return (f"{first}\n", rest) if first.startswith("#!") else ("", text)


def _value(script: str, values: Mapping[str, Mapping[str, str]], kind: str, name: str) -> str:
    try:
        return values[kind][name]
    except KeyError:
        raise LuaError(f"{script}: {kind}.{name} is not declared") from None


@dataclass(slots=True)
class _Composition:
    """What has been put into one script so far."""

    library: Callable[[str], Path]
    placed: dict[str, str] = field(default_factory=dict)
    underway: list[str] = field(default_factory=list)
    declared: dict[str, bool] = field(default_factory=dict)

    def put(self, name: str, text: str, visible: set[str]) -> str:
        """Returns the text of a file with all that it requires. `visible`: files that its code can use; grows."""
        self.underway.append(name)
        required = [part for line in _REQUIRE.findall(text) for part in _names(line)]
        before = "".join(self._require(part, visible) for part in required)
        for argument, rest in _ARGUMENT.findall(text):
            self._declare(name, argument, is_rest=bool(rest))
        # A function sees what was put before it. What is put into it cannot be seen from outside.
        code = _LOAD.sub(lambda line: self._load(line[1], set(visible)), _without_comments(text))
        self.underway.pop()
        return before + code

    def _load(self, names: str, visible: set[str]) -> str:
        return "".join(self._require(part, visible) for part in _names(names)).rstrip("\n")

    def _require(self, name: str, visible: set[str]) -> str:
        by = self.underway[-1]
        if name in self.underway:
            raise LuaError(" requires ".join([*self.underway[self.underway.index(name) :], name]) + ": a circle")
        if name in visible:
            return ""
        if name in self.placed:
            raise LuaError(
                f"{by} requires {name}, which {self.placed[name]} loads inside a function: require it earlier"
            )
        path = self.library(name)
        if not path.is_file():
            raise LuaError(f"{by} requires {name}: there is no file {path.relative_to(path.parents[1])}")
        self.placed[name] = by
        code = self.put(name, path.read_text(), visible)
        visible.add(name)
        return code

    def _declare(self, by: str, argument: str, *, is_rest: bool) -> None:
        if argument in self.declared:
            raise LuaError(f"{by} declares the argument {argument}, which is declared already")
        self.declared[argument] = is_rest

    def arguments(self) -> tuple[tuple[str, ...], str]:
        """The names in order, and the name of the rest."""
        rests = [argument for argument, is_rest in self.declared.items() if is_rest]
        if len(rests) > 1:
            raise LuaError(f"only one of {', '.join(rests)} can be the rest of the arguments")
        return tuple(argument for argument, is_rest in self.declared.items() if not is_rest), "".join(rests)


def _names(line: str) -> list[str]:
    return [name.strip() for name in line.split(",")]


def _without_comments(text: str) -> str:
    """Redis keeps and parses less. Only whole lines are removed; `-- @load` stays."""
    lines = (line for line in text.splitlines() if line.strip() and not re.match(r" *--(?! @load )", line))
    return "".join(f"{line}\n" for line in lines)
