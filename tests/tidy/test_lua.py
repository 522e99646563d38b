"""Scripts say what they promise, and their wrappers hand over what they read."""

import re
from pathlib import Path

import pytest

from services.router.class_rules import Rules
from services.router.keys import NAMES, PoolKeys
from services.router.scripts import NAMES as SCRIPTS
from services.router.scripts import Call, Composition, Limit, PoolScripts, Submission, WorkerReport
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Journal, Pool
from tidegate.router.v1 import router_pb2 as pb

FOLDER = Path("services/router/lua")
LONGEST_LINE = 130
RULES = Rules.of_cluster(Cluster(pools=(Pool(name="tide", model="tide"),)))


def calls() -> dict[str, Call]:
    scripts = PoolScripts(PoolKeys("tide"), "router", Composition("prefix"))
    submission = Submission("s", "r", 1, ServiceClass.FLEX, 10, 1000, limits=(Limit("l", 1, 1, 1),))
    made = [
        scripts.submit(submission, RULES, lease_ms=1000, no_worker_grace_ms=1),
        scripts.finish("r", 1, RULES, actual_tokens=None),
        scripts.heartbeat(WorkerReport("w", 1, "ready", 1, 1, "v", "a", b""), RULES, lease_ms=1000),
        scripts.detach("w", 1, grace_ms=0),
        scripts.renew(["s"], lease_ms=1000),
        scripts.reap(RULES, limit=1, worker_lease_ms=1),
        scripts.outlook(["r"]),
        scripts.record("rules", 0, {"revision": "1"}),
        scripts.journal(Journal(), [pb.LogPart(request_id="r", tenant="t", data=b"x")]),
    ]
    return {call.script.name: call for call in made}


def test_no_line_is_too_long_to_be_read() -> None:
    lines = [(path, line) for path in FOLDER.rglob("*.lua") for line in path.read_text().splitlines()]
    assert len(lines) > 1000
    assert not [(path.name, line) for path, line in lines if len(line) > LONGEST_LINE]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_states_guarantee_arguments_and_answer(name: str) -> None:
    header = source(name).split("\nlocal ", 1)[0]
    for word in ("-- Guarantee:", "-- ARGV ", "-- Returns "):
        assert word in header, f"{name}.lua: no line {word!r}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_wrapper_passes_every_argument_that_the_script_reads(name: str) -> None:
    call = calls()[name]
    read = {0, *(int(n) for n in re.findall(r"ARGV\[(\d+)\]", call.script.source))}
    documented = [(int(n), bool(rest)) for n, rest in re.findall(r"(?:ARGV|\s)\s+(\d+)(\.\.\.)? \w", header_of(name))]
    last, open_ended = max(documented)
    assert max(read) <= len(call.args)
    assert len(call.args) >= last if open_ended else len(call.args) == last
    assert [n for n, _ in documented] == list(range(1, last + 1))


def source(name: str) -> str:
    return (FOLDER / f"{name}.lua").read_text()


def header_of(name: str) -> str:
    return source(name)[source(name).index("-- ARGV ") : source(name).index("-- Returns ")]


def test_every_script_and_include_is_used() -> None:
    assert {path.stem for path in FOLDER.glob("*.lua")} == set(SCRIPTS)
    sources = "".join(path.read_text() for path in FOLDER.rglob("*.lua"))
    for include in FOLDER.glob("include/*.lua"):
        assert f"-- @include {include.stem}\n" in sources


@pytest.mark.parametrize("path", sorted(FOLDER.glob("policy/*.lua")), ids=lambda path: path.name)
def test_every_policy_has_both_halves_of_the_contract(path: Path) -> None:
    text = path.read_text()
    wanted = ("order_of(",) if path.name.endswith(".order.lua") else ("choose(request)", "wish(", "took(")
    assert all(f"local function {function}" in text for function in wanted)
    assert (FOLDER / "policy" / f"{path.name.split('.')[0]}.lua").exists()
    assert (FOLDER / "policy" / f"{path.name.split('.')[0]}.order.lua").exists()


def test_scripts_know_the_same_keys_as_python() -> None:
    named = re.findall(r"KEYS\[1\] \.\. '([\w:]+)'|by_class\('([\w:]+)'\)", (FOLDER / "include/keys.lua").read_text())
    assert {one or other for one, other in named} == set(NAMES)


def test_all_keys_of_a_pool_share_one_hash_tag() -> None:
    assert PoolKeys("tide").root == "tidegate:{tide}:"
