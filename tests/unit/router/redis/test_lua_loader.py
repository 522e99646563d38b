"""The loader puts each Lua file in once, in order, and says what does not fit together."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.router.redis.lua_loader import ComposedScript, LuaError, compose


def composed(folder: Path, text: str, files: Mapping[str, str]) -> ComposedScript:
    for name, content in files.items():
        (folder / f"{name}.lua").write_text(content)
    return compose("command", text, library=lambda name: folder / f"{name}.lua", settings={"overtaking": 3})


def lines(script: ComposedScript) -> list[str]:
    """Without the table of keys."""
    return script.source.splitlines()[1:]


def test_what_a_file_requires_comes_before_it_and_once(tmp_path: Path) -> None:
    files = {"a": "local a = 1\n", "b": "-- @require a\nlocal b = a\n", "c": "-- @require a, b\nlocal c = b\n"}
    script = composed(tmp_path, "-- @require c, a\nreturn c\n", files)
    assert lines(script) == ["local a = 1", "local b = a", "local c = b", "return c"]


def test_a_file_may_be_loaded_inside_a_function_with_what_is_not_there_yet(tmp_path: Path) -> None:
    files = {"a": "local a = 1\n", "b": "-- @require a, c\nlocal b = a + c\n", "c": "local c = 2\n"}
    text = "-- @require a\nlocal function f()\n  -- @load b\n  return b\nend\nreturn f()\n"
    inside = ["local function f()", "local c = 2", "local b = a + c", "  return b", "end"]
    assert lines(composed(tmp_path, text, files)) == ["local a = 1", *inside, "return f()"]


def test_a_file_that_requires_itself_is_refused(tmp_path: Path) -> None:
    files = {"a": "-- @require b\n", "b": "-- @require c\n", "c": "-- @require b\n"}
    with pytest.raises(LuaError, match=r"^b requires c requires b: a circle$"):
        composed(tmp_path, "-- @require a\n", files)


def test_a_file_that_does_not_exist_is_named_with_the_one_that_requires_it(tmp_path: Path) -> None:
    with pytest.raises(LuaError, match=r"^a requires b: there is no file .*b\.lua$"):
        composed(tmp_path, "-- @require a\n", {"a": "-- @require b\n"})


def test_a_file_that_one_function_loaded_is_not_put_in_again(tmp_path: Path) -> None:
    text = "local function f()\n  -- @load a\nend\nlocal function g()\n  -- @load a\nend\n"
    with pytest.raises(LuaError, match=r"loads inside a function: require it earlier$"):
        composed(tmp_path, text, {"a": "local a = 1\n"})


def test_arguments_are_numbered_in_the_order_of_their_declarations(tmp_path: Path) -> None:
    files = {"a": "-- ARG first  the first\nlocal a = ARG.first\n"}
    text = "-- @require a\n-- ARG others...  all others\n-- ARG second  the second\nreturn ARG.second + INDEX.others\n"
    script = composed(tmp_path, text, files)
    assert lines(script) == ["local a = ARGV[1]", "return ARGV[2] + 3"]
    assert (script.arguments, script.rest) == (("first", "second"), "others")


@pytest.mark.parametrize("name", ["ARG.unknown", "SETTING.unknown", "INDEX.unknown"])
def test_a_name_that_nobody_declares_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LuaError, match=f"^command: {name} is not declared$"):
        composed(tmp_path, f"return {name}\n", {})


def test_an_argument_is_declared_once(tmp_path: Path) -> None:
    with pytest.raises(LuaError, match=r"^commands/command declares the argument x, which is declared already$"):
        composed(tmp_path, "-- @require a\n-- ARG x  it\n", {"a": "-- ARG x  it\n"})


def test_there_is_one_rest_of_the_arguments(tmp_path: Path) -> None:
    with pytest.raises(LuaError, match=r"^only one of x, y can be the rest of the arguments$"):
        composed(tmp_path, "-- ARG x...  some\n-- ARG y...  others\n", {})


def test_only_the_keys_that_a_script_uses_are_named_in_it(tmp_path: Path) -> None:
    script = composed(tmp_path, "#!lua flags=no-writes\nreturn KEY.free .. KEY.running[1]\n", {})
    running = "{ " + ", ".join(f"KEYS[1] .. 'running:{c}'" for c in ("priority", "default", "flex", "batch")) + " }"
    assert script.source.splitlines()[:2] == [
        "#!lua flags=no-writes",
        f"local KEY = {{ free = KEYS[1] .. 'free', running = {running} }}",
    ]


def test_a_key_that_nobody_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LuaError, match=r"^command: no key is named unheard_of$"):
        composed(tmp_path, "return KEY.unheard_of\n", {})


def test_settings_are_written_into_the_code(tmp_path: Path) -> None:
    assert lines(composed(tmp_path, "return SETTING.overtaking\n", {})) == ["return 3"]
