"""The whole suite on the simulated cluster, and the table of what differs from vLLM."""

import pytest

from tests.conformance import page
from tests.conformance.check import all_checks
from tests.conformance.differences import named, outdated, unnamed
from tests.conformance.recorded import read
from tests.conformance.suite import run, with_verdict
from tests.conformance.target import Target
from tests.conformance.vllm_serve import vllm_version
from tests.support.cluster import RunningCluster

CHECKS = all_checks()


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_every_check_on_the_simulated_cluster(simulated: RunningCluster) -> None:
    target = Target("tidegate", simulated.rest, simulated.key, "tide", frozenset({"script"}))
    outcomes = await run(target, CHECKS)
    assert not with_verdict(outcomes, "failed")
    vllm = read()["verdicts"]
    assert not unnamed(outcomes, vllm), "name it in tests/conformance/differences.py, with the reason, or mend it"
    assert not outdated(outcomes, vllm), "take it out of tests/conformance/differences.py"


def test_vllm_was_asked_everything() -> None:
    recorded = read()
    assert set(recorded["verdicts"]) == {check.name for check in CHECKS}, "run `make conformance`"
    assert recorded["vllm"] == vllm_version(), "run `make conformance`"


def test_the_table_in_the_docs() -> None:
    text = page.PAGE.read_text()
    assert page.written(text) == text, "run `make docs`"
    assert named() <= {check.name for check in CHECKS}
