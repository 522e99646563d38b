"""Scripts say what they promise, and their wrappers hand over what they read."""

import re
from pathlib import Path

import pytest

from services.router.keys import PoolKeys
from services.router.scripts import SCRIPTS, Call, PoolScripts, Script, Submission, WorkerReport
from services.shared.classes import ServiceClass

FOLDER = Path("services/router/lua")


def calls() -> dict[str, Call]:
    scripts = PoolScripts(PoolKeys("tide"), "router")
    made = [
        scripts.submit(
            Submission("s", "r", 1, ServiceClass.FLEX, 10, 1000), lease_ms=1000, cap=1, no_worker_grace_ms=1
        ),
        scripts.finish("r", 1),
        scripts.heartbeat(WorkerReport("w", 1, "ready", 1, 1, "v", "a", b""), lease_ms=1000),
        scripts.detach("w", 1, grace_ms=0),
        scripts.renew(["s"], lease_ms=1000),
        scripts.reap(limit=1),
        scripts.record(0, {"revision": "1"}),
    ]
    return {call.script.name: call for call in made}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_header_states_guarantee_arguments_and_answer(script: Script) -> None:
    header = script.source.split("\nlocal ", 1)[0]
    for word in ("-- Guarantee:", "-- ARGV ", "-- Returns "):
        assert word in header, f"{script.name}.lua: no line {word!r}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_wrapper_passes_every_argument_that_the_script_reads(script: Script) -> None:
    read = {int(n) for n in re.findall(r"ARGV\[(\d+)\]", script.source)}
    passed = len(calls()[script.name].args)
    documented = {int(n) for n in re.findall(r"(?:ARGV|\s)\s+(\d+)(?:\.\.\.)? \w", header_of(script))}
    assert max(read) <= passed
    assert max(documented) == passed


def header_of(script: Script) -> str:
    return script.source[script.source.index("-- ARGV ") : script.source.index("-- Returns ")]


def test_every_script_and_include_is_used() -> None:
    assert {path.stem for path in FOLDER.glob("*.lua")} == {script.name for script in SCRIPTS}
    sources = "".join(path.read_text() for path in FOLDER.glob("*.lua"))
    for include in FOLDER.glob("include/*.lua"):
        assert f"-- @include {include.stem}\n" in sources


def test_all_keys_of_a_pool_share_one_hash_tag() -> None:
    assert all(key.startswith("tidegate:{tide}:") for key in PoolKeys("tide").all())
    assert len(set(PoolKeys("tide").all())) == 17
