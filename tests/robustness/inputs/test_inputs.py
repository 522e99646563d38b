"""A short run. `python -m tests.robustness.inputs` makes the long ones."""

from pathlib import Path

import pytest

from tests.robustness.inputs.drill import CONFIG, drill
from tests.support.cluster import running_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CASES = 300
SEED = 20261121


async def test_whatever_is_sent_is_answered_or_cleanly_refused(tmp_path: Path) -> None:
    with running_cluster(tmp_path, CONFIG) as cluster:
        verdict = await drill(cluster, CASES, SEED)
    assert verdict.cases == CASES
    assert verdict.http[200] > CASES // 100
    assert verdict.rpc["OK"] > CASES // 20
    assert not verdict.complaints, f"seed {SEED}: {verdict}"
