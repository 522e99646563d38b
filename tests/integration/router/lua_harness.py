"""Runs one file of the Lua library alone on a real Redis."""

from typing import Any

import orjson
import redis

from services.router.core.keys import PoolKeys
from services.router.redis.lua_loader import LUA, ComposedScript
from services.router.redis.scripts import Composition

KEYS = PoolKeys("tide")


class LuaLibrary:
    """Calls Lua code that requires library files.

    Attributes:
        arguments: Values of the arguments that library files declare, by name. Missing ones are "".
    """

    def __init__(self, client: redis.Redis, composition: Composition | None = None, *, now_ms: int = 1_000_000) -> None:
        """The clock is simulated and stands at `now_ms`."""
        self._client = client
        self._composition = composition or Composition("least_load", "simulated")
        self.arguments: dict[str, str | int] = {}
        self.set_clock(now_ms)

    def set_clock(self, now_ms: int) -> None:
        """Sets the time that the next calls see."""
        self._client.set(f"{KEYS.root}clock", now_ms)

    def run(self, requires: str, code: str, *rest: str | int) -> list[Any]:
        """Runs Lua code.

        Args:
            requires: Names of library files, with commas between.
            code: What to run; all functions of these files are there.
            rest: Arguments after the declared ones.

        Returns:
            All values that the code returned, as Lua's cjson writes them: an empty table is {}.
        """
        body = f"read_clock()\nlocal function body()\n{code}\nend\nreturn cjson.encode({{ body() }})\n"
        script = self._composition.compose("test", f"-- @require clock, {requires}\n{body}")
        answer: Any = self._client.eval(script.source, 1, KEYS.root, *self._values(script), *rest)
        return list(orjson.loads(answer))

    def call(self, file: str, function: str, *arguments: str | float) -> Any:
        """Calls one function of one file with literal arguments, and returns its first result."""
        literals = ", ".join(f"'{value}'" if isinstance(value, str) else repr(value) for value in arguments)
        results = self.run(file, f"return {function}({literals})")
        return results[0] if results else None

    def _values(self, script: ComposedScript) -> list[str | int]:
        return [self.arguments.get(name, "") for name in script.arguments]


def library_names() -> list[str]:
    """Every file of the library, and the three names that stand for a choice."""
    return [*sorted(path.stem for path in (LUA / "lib").glob("*.lua")), "placement", "placement_order", "clock"]
