"""A short drill of workers on two nodes, with the simulated engine. `python -m tests.robustness.groups` runs vLLM."""

from pathlib import Path

import pytest

from tests.robustness.groups.drill import SIMULATED, drill, prompts
from tests.support.cluster import running_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SEED = 20261129


async def test_a_group_changes_its_weights_and_survives_its_follower(tmp_path: Path) -> None:
    with running_cluster(tmp_path, SIMULATED.config) as cluster:
        report = await drill(cluster, SIMULATED, prompts(8, SEED), SEED)
    assert not report.violations, f"seed {SEED}: {report}"
    assert report.same == report.asked == 16
