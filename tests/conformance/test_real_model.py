"""The checks that need a model with structured outputs, on the cluster that `make up` starts."""

import pytest

from tests.conformance.check import all_checks
from tests.conformance.differences import outdated, unnamed
from tests.conformance.recorded import read
from tests.conformance.suite import run, with_verdict
from tests.conformance.target import Target
from tests.support.cluster import RunningCluster


@pytest.mark.vllm
@pytest.mark.timeout(600)
async def test_structured_outputs(real: RunningCluster) -> None:
    target = Target("tidegate", real.rest, real.key, "smollm2-135m-instruct")
    outcomes = await run(target, [check for check in all_checks() if "grammar" in check.needs])
    assert not with_verdict(outcomes, "failed")
    assert not unnamed(outcomes, read()["verdicts"])
    assert not outdated(outcomes, read()["verdicts"])
