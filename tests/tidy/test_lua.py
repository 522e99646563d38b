"""Lua files say what they promise, fit together, and agree with Python on keys, arguments and events."""

import re
from pathlib import Path

import pytest

from services.router.core.class_rules import Rules
from services.router.core.keys import NAMES as KEYS
from services.router.core.keys import PoolKeys, lua_names
from services.router.redis.lua_loader import LUA
from services.router.redis.scripts import NAMES as SCRIPTS
from services.router.redis.scripts import Call, Composition, Limit, PoolScripts, Submission, WorkerReport, script
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool, ResumeLog
from tidegate.router.v1 import router_pb2 as pb

FOLDER = Path("services/router/lua")
LONGEST_LINE = 130
FILES = sorted(FOLDER.rglob("*.lua"))
POLICIES = sorted({path.name.split(".")[0] for path in (FOLDER / "policies").glob("*.lua")})
RULES = Rules.of_cluster(Cluster(pools=(Pool(name="tide", model="tide"),)))


def calls() -> dict[str, Call]:
    """One call of each script. To build it fails when the script declares other arguments."""
    scripts = PoolScripts(PoolKeys("tide"), "router", Composition("prefix"))
    submission = Submission("s", "r", 1, ServiceClass.FLEX, 10, 1000, limits=(Limit("l", 1, 1, 1),))
    made = [
        scripts.submit(submission, RULES, lease_ms=1000, no_worker_grace_ms=1),
        scripts.finish("r", 1, RULES, actual_tokens=None),
        scripts.heartbeat(WorkerReport("w", 1, "ready", 1, 1, "v", "a", b""), RULES, lease_ms=1000),
        scripts.detach("w", 1, grace_ms=0),
        scripts.renew(["s"], lease_ms=1000),
        scripts.reap(RULES, limit=1, worker_lease_ms=1),
        scripts.queue_position(["r"]),
        scripts.replace_record("rules", 0, {"revision": "1"}, RULES),
        scripts.append_log(ResumeLog(), [pb.LogPart(request_id="r", tenant="t", data=b"x")]),
    ]
    return {call.script.name: call for call in made}


def test_no_line_is_too_long_to_be_read() -> None:
    lines = [(path, line) for path in FILES for line in path.read_text().splitlines()]
    assert len(lines) > 1000
    assert not [(path.name, line) for path, line in lines if len(line) > LONGEST_LINE]


def test_the_folder_of_the_tests_is_the_loaders() -> None:
    assert FOLDER.resolve() == LUA.resolve()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_of_a_command_states_guarantee_and_answer(name: str) -> None:
    text = (FOLDER / "commands" / f"{name}.lua").read_text()
    for word in ("-- Guarantee: ", "-- Returns "):
        assert f"\n{word}" in text, f"{name}.lua: no line {word!r}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_begins_with_what_it_is_for(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("#!", "-- @require "))]
    assert re.match(r"-- [A-Z]", lines[0]), f"{path.name}: {lines[0]!r}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_python_passes_every_argument_that_the_script_reads(name: str) -> None:
    call = calls()[name]
    read = {0, *(int(n) for n in re.findall(r"ARGV\[(\d+)\]", call.script.source))}
    assert max(read) <= len(call.args)
    assert len(call.args) >= len(call.script.arguments)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_arguments_are_read_by_name(path: Path) -> None:
    assert not re.findall(r"ARGV\[\d+\]", path.read_text())


def test_every_file_is_used() -> None:
    assert {path.stem for path in (FOLDER / "commands").glob("*.lua")} == set(SCRIPTS)
    sources = "".join(path.read_text() for path in FILES)
    named = {name for line in re.findall(r"-- @(?:require|load) (.+)", sources) for name in line.split(", ")}
    assert named == {path.stem for path in (FOLDER / "lib").glob("*.lua")} | {"placement", "placement_order", "clock"}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_no_two_files_of_a_script_define_the_same_name(name: str, policy: str) -> None:
    source = script(name, Composition(policy)).source
    defined = [
        part
        for line in re.findall(r"^local (?:function )?([\w, ]+)", source, re.MULTILINE)
        for part in line.split(", ")
    ]
    assert sorted(set(defined)) == sorted(defined)


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name != "commands"], ids=lambda path: path.name)
def test_a_library_file_does_not_talk_to_redis_while_it_is_loaded(path: Path) -> None:
    """tests/integration/router/test_lua_library.py proves it on a server; this names the line."""
    functions = re.compile(r"^local function (?:[^\n]* end$|.*?^end$)", re.DOTALL | re.MULTILINE)
    outside = functions.sub("", path.read_text())
    assert "redis." not in re.sub(r"--.*", "", outside)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_has_both_files(policy: str) -> None:
    choice = (FOLDER / "policies" / f"{policy}.lua").read_text()
    order = (FOLDER / "policies" / f"{policy}.order.lua").read_text()
    assert "local function order_of(" in order
    for function in ("choose(request)", "preferred_worker(", "note_grant("):
        assert f"local function {function}" in choice


OF_NO_SCRIPT = {"gates:", "stage"}
"""rollout_gate.py and version_staging.py of services/router use plain commands."""


def test_every_key_is_used() -> None:
    """A name that no key has is an error of the loader."""
    sources = "".join(path.read_text() for path in FILES)
    used = {lua_names()[name] for name in re.findall(r"\bKEY\.(\w+)", sources)}
    assert used == set(KEYS) - OF_NO_SCRIPT


def test_all_keys_of_a_pool_share_one_hash_tag() -> None:
    assert PoolKeys("tide").root == "tidegate:{tide}:"
