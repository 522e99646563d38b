"""A short drill of generated requests. `python -m tests.robustness.inputs` runs long ones."""

import pytest

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.inputs.drill import drill

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CASES = 200
SEED = 20261121


async def test_generated_requests_get_a_response_or_a_clean_error(
    bounded_cluster: ClusterUnderTest,
) -> None:
    report = await drill(bounded_cluster.view.cluster, CASES, SEED)
    assert report.cases == CASES
    assert report.http[200] > CASES // 100
    assert report.rpc["OK"] > CASES // 20
    assert not report.violations, f"seed {SEED}: {report}"
