"""A short drill of gateway restarts. `python -m tests.robustness.gateways` runs long ones."""

from pathlib import Path

import pytest

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.gateways.balancer import PROGRAM, found
from tests.robustness.gateways.drill import balanced, drill
from tests.robustness.invariant_checker import check

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(180)
@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_no_request_fails_when_gateways_restart_one_after_another(
    replicated_cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    with balanced(replicated_cluster, tmp_path) as gateways:
        run = await drill(gateways, restarts=2, streams=8, seed=SEED)
    report = check(run)
    assert report.requests > 0
    assert not report.violations, f"seed {SEED}: {report}"
