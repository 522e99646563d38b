"""A short drill. `python -m tests.robustness.gateways` runs the long one."""

from pathlib import Path

import pytest

from tests.robustness.arena import Arena
from tests.robustness.gateways.balancer import PROGRAM, found
from tests.robustness.gateways.drill import balanced, drill
from tests.robustness.verdict import judge

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(180)
@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_gateways_may_leave_one_after_another(replicated: Arena, tmp_path: Path) -> None:
    with balanced(replicated, tmp_path) as two:
        run = await drill(two, restarts=2, streams=16, seed=SEED)
    verdict = judge(run)
    assert verdict.requests > 0
    assert not verdict.complaints, f"seed {SEED}: {verdict}"
