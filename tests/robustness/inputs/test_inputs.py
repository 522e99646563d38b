"""A short drill of generated requests. `python -m tests.robustness.inputs` runs long ones."""

from pathlib import Path

import pytest

from tests.robustness.inputs.drill import CONFIG, drill
from tests.support.cluster import running_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CASES = 200
SEED = 20261121


async def test_generated_requests_get_a_response_or_a_clean_error(tmp_path: Path) -> None:
    with running_cluster(tmp_path, CONFIG) as cluster:
        report = await drill(cluster, CASES, SEED)
    assert report.cases == CASES
    assert report.http[200] > CASES // 100
    assert report.rpc["OK"] > CASES // 20
    assert not report.violations, f"seed {SEED}: {report}"
